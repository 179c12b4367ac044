"""Nodes, routers and error handlers of LangGraph as functions that Petiole's engine calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs, var_child_runnable_config
from langgraph._internal._constants import (
    CONFIG_KEY_CALL,
    CONFIG_KEY_NODE_ERROR,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK_ID,
)
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.errors import NodeError as TheirNodeError
from langgraph.runtime import ExecutionInfo
from langgraph.runtime import Runtime as TheirRuntime

from petiole.langgraph.answers import Answers, ask
from petiole.langgraph.conversion import command, returned_by_node, returned_by_router
from petiole.langgraph.conversion import error as their_error
from petiole_stores.errors import ConfigurationError
from petiole_workers.graph import NodeError, Runtime

Function = Callable[..., Any]


def node_function(runnable: Runnable[Any, Any], bound: RunnableConfig) -> Function:
    """A node's Runnable as ``(state, runtime)``; its answers, Commands and Sends are Petiole's.

    bound: the config that the graph was given with ``with_config``.
    """

    @contextmanager
    def meeting(runtime: Runtime[Any]) -> Iterator[RunnableConfig]:
        with _config(runtime, bound) as config:
            try:
                yield config
            except GraphInterrupt as raised:
                ask(raised, runtime)

    if _only_async(runnable):

        async def acall(state: Any, runtime: Runtime[Any]) -> Any:
            with meeting(runtime) as config:
                try:
                    return returned_by_node(await runnable.ainvoke(state, config))
                except ParentCommand as raised:
                    return _to_this_graph(raised)

        return acall

    def call(state: Any, runtime: Runtime[Any]) -> Any:
        with meeting(runtime) as config:
            try:
                return returned_by_node(runnable.invoke(state, config))
            except ParentCommand as raised:
                return _to_this_graph(raised)

    return call


def router_function(path: Runnable[Any, Any], bound: RunnableConfig) -> Function:
    """A conditional edge's Runnable as ``(state, runtime)``."""
    if _only_async(path):

        async def aroute(state: Any, runtime: Runtime[Any]) -> Any:
            with _config(runtime, bound) as config:
                return returned_by_router(await path.ainvoke(state, config))

        return aroute

    def route(state: Any, runtime: Runtime[Any]) -> Any:
        with _config(runtime, bound) as config:
            return returned_by_router(path.invoke(state, config))

    return route


def handler_function(runnable: Runnable[Any, Any], bound: RunnableConfig) -> Function:
    """An error handler's Runnable as ``(state, error, runtime)``."""

    def known(error: NodeError) -> dict[str, Any]:
        return {CONFIG_KEY_NODE_ERROR: TheirNodeError(node=error.node, error=their_error(error.error))}

    if _only_async(runnable):

        async def ahandle(state: Any, error: NodeError, runtime: Runtime[Any]) -> Any:
            with _config(runtime, bound, known(error)) as config:
                return returned_by_node(await runnable.ainvoke(state, config))

        return ahandle

    def handle(state: Any, error: NodeError, runtime: Runtime[Any]) -> Any:
        with _config(runtime, bound, known(error)) as config:
            return returned_by_node(runnable.invoke(state, config))

    return handle


def _only_async(runnable: Any) -> bool:
    """Whether it, or one of the tools in it, cannot be called without an event loop."""
    if getattr(runnable, "afunc", None) is None:
        return False
    tools = getattr(runnable, "tools_by_name", {}).values()
    return getattr(runnable, "func", None) is None or any(
        getattr(tool, "coroutine", None) is not None and getattr(tool, "func", None) is None for tool in tools
    )


def _to_this_graph(raised: ParentCommand) -> Any:
    """A graph that the node invoked itself left for its parent, which is the node's graph."""
    return dataclasses.replace(command(raised.args[0]), graph=None)


@contextmanager
def _config(
    runtime: Runtime[Any], bound: RunnableConfig, more: dict[str, Any] | None = None
) -> Iterator[RunnableConfig]:
    """The config of a call, also found by ``get_config()``, ``get_runtime()`` and ``interrupt()`` of LangGraph."""
    own: Any = runtime.config
    ns = f"{runtime.node}:{runtime.task_id}"
    ns = f"{runtime.checkpoint_ns}|{ns}" if runtime.checkpoint_ns else ns
    own["metadata"] |= {"langgraph_checkpoint_ns": ns, "thread_id": runtime.thread_id}
    own["configurable"] |= {
        "checkpoint_ns": ns,
        CONFIG_KEY_TASK_ID: runtime.task_id,
        CONFIG_KEY_SCRATCHPAD: Answers(runtime.services.answers()).scratchpad(runtime.step),
        CONFIG_KEY_SEND: _unheard,
        CONFIG_KEY_CALL: _no_tasks,
        CONFIG_KEY_RUNTIME: _their_runtime(runtime, ns),
        **(more or {}),
    }
    # What is set already listens to chat models, where somebody follows their messages.
    config = merge_configs(bound, var_child_runnable_config.get(), own)
    token = var_child_runnable_config.set(config)
    try:
        yield config
    finally:
        var_child_runnable_config.reset(token)


def _their_runtime(runtime: Runtime[Any], ns: str) -> TheirRuntime[Any]:
    known = runtime.execution_info
    return TheirRuntime(
        context=runtime.context,
        store=runtime.store,
        stream_writer=runtime.stream_writer,
        heartbeat=runtime.heartbeat,
        execution_info=ExecutionInfo(
            checkpoint_id=known.checkpoint_id,
            checkpoint_ns=ns,
            task_id=known.task_id,
            thread_id=known.thread_id,
            run_id=known.run_id,
            node_attempt=known.node_attempt,
            node_first_attempt_time=known.node_first_attempt_time,
        ),
    )


def _unheard(writes: object) -> None:
    """LangGraph notes here which answers were used; Petiole has them already."""


def _no_tasks(function: Any, *_: Any, **__: Any) -> Awaitable[Any]:
    name = getattr(function, "__name__", repr(function))
    raise ConfigurationError(
        f"the node calls {name!r}, a task of langgraph.func, which needs LangGraph's own engine: call a plain function, or "
        "declare it with petiole.task"
    )
