"""Calling a node's function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable

from petiole_workers.graph.callables import Runner, acall, run_awaitable
from petiole_workers.graph.parts import NodeSpec
from petiole_workers.graph.runtime import Runtime, running


def call_node(spec: NodeSpec, input: object, runtime: Runtime, *, runner: Runner = run_awaitable) -> object:
    """Calls the node's function with ``input`` (see `task_input`) and waits for what it returns."""
    with running(runtime):
        returned = spec.function(input, runtime)
    return runner(_within(runtime, returned)) if inspect.isawaitable(returned) else returned


async def _within(runtime: Runtime, awaitable: Awaitable[object]) -> object:
    """An event loop may await in a context of its own."""
    with running(runtime):
        return await awaitable


async def acall_node(spec: NodeSpec, input: object, runtime: Runtime) -> object:
    """The same from a coroutine; a sync function runs in a thread."""
    with running(runtime):
        return await acall(spec.function, input, runtime)
