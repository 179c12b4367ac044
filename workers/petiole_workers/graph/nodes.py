"""Calling a node's function."""

from __future__ import annotations

from typing import Any

from petiole_workers.graph.callables import Runner, acall, call, run_awaitable
from petiole_workers.graph.parts import NodeSpec
from petiole_workers.graph.runtime import Runtime


def call_node(
    spec: NodeSpec, input: object, runtime: Runtime[Any], *, runner: Runner = run_awaitable
) -> object:
    """Calls the node's function with ``input`` (see `task_input`) and waits for what it returns."""
    return call(spec.function, input, runtime, runner)


async def acall_node(spec: NodeSpec, input: object, runtime: Runtime[Any]) -> object:
    """The same from a coroutine; a sync function runs in a thread."""
    return await acall(spec.function, input, runtime)
