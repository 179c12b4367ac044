"""The functional API: a workflow as one function (`entrypoint`) whose `task` calls are durable steps.

An entrypoint is a graph of one node. Where it runs again (after an interrupt, a wait, a crash, on another worker), it runs
from its top, and each `task` call that has returned before returns the same at once, without being called. So what happens
between the calls has to lead to the same calls in the same order; whatever does not belongs into a task.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar, overload

from petiole_stores.errors import GraphValidationError
from petiole_workers.compiled import CompiledGraph
from petiole_workers.graph import INTERRUPT, START, Runtime, StateGraph
from petiole_workers.graph.reading import Policies
from petiole_workers.graph.reading import policies as read_policies
from petiole_workers.graph.runtime import current_runtime
from petiole_workers.graph.steps import StepFuture
from petiole_workers.retry import RetryStrategy

T = TypeVar("T")


class TaskFunction(Generic[T]):
    """A function whose calls within an entrypoint (or any node) are durable steps; made by `task`."""

    def __init__(self, function: Callable[..., Any], name: str, policies: tuple[RetryStrategy, ...]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.name, self.policies = function, name, policies

    def __call__(self, *args: Any, **kwargs: Any) -> StepFuture[T]:
        """Begin the step, beside what else runs; ``result()`` (or ``await``) waits for what it returns.

        Raises ConfigurationError outside a node.
        """
        services = current_runtime(f"the task {self.name!r}").services
        return services.step(self.name, functools.partial(self.function, *args, **kwargs), self.policies)


@overload
def task(function: Callable[..., Awaitable[T]], /) -> TaskFunction[T]: ...
@overload
def task(function: Callable[..., T], /) -> TaskFunction[T]: ...
@overload
def task(
    *, name: str | None = None, retry_policy: Policies = None
) -> Callable[[Callable[..., Any]], TaskFunction[Any]]: ...
def task(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, retry_policy: Policies = None
) -> Any:
    """``@task``: each call is a step whose result is kept, so that it is made once however often the workflow runs again.

    Calls run side by side in threads (async functions on their caller's event loop). Arguments are not stored; what the
    function returns is, and may be anything that a state may hold. An exception is not kept: the step is made again when
    the workflow is.

    name: what the step is called; by default the function's name.
    retry_policy: when a failed call is made again, as for nodes; waits are spent in the worker.
    """

    def decorate(function: Callable[..., Any]) -> TaskFunction[Any]:
        called = name or str(getattr(function, "__name__", "task"))
        faults: list[str] = []
        policies = read_policies(retry_policy, f"task {called!r}", faults)
        if faults:
            raise GraphValidationError(faults)
        return TaskFunction(function, called, policies)

    return decorate if function is None else decorate(function)


class _Workflow(TypedDict, total=False):
    input: Any
    result: Any
    previous: Any


@dataclass(frozen=True)
class Final(Generic[T]):
    """What an entrypoint returns to the caller, and what the next run of the thread gets as ``previous``."""

    value: T
    save: Any


class EntrypointGraph(CompiledGraph):
    """A workflow function as a graph: ``invoke`` takes its argument and gives what it returned."""

    shown_keys = "result"

    def accept(self, input: object) -> Any:
        return input

    def _invoke(self, *given: Any) -> Any:
        values = super()._invoke(*given)
        if values is None:
            return None
        if INTERRUPT in values:
            return {INTERRUPT: values[INTERRUPT]}
        return values.get("result")


class entrypoint:
    """``@entrypoint()``: makes a function of one argument a graph that can be invoked, submitted and served by workers.

    The function may also ask for ``previous`` (what the thread's last run returned, or saved by `entrypoint.final`; ``None``
    at first) and ``runtime``, as keywords. It may be async.

    checkpointer, name, version, durability: as in ``StateGraph.compile``; the name is by default the function's.
    retry_policy, timeout: of the whole function, as for nodes.
    """

    final = Final

    def __init__(
        self,
        checkpointer: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        retry_policy: Policies = None,
        timeout: float | None = None,
        durability: str | None = None,
    ) -> None:
        self._checkpointer, self._name, self._version = checkpointer, name, version
        self._options: dict[str, Any] = {"retry_policy": retry_policy, "timeout": timeout}
        self._durability = durability

    def __call__(self, function: Callable[..., Any]) -> EntrypointGraph:
        called = getattr(function, "__name__", "entrypoint")
        graph = StateGraph(_Workflow)
        graph.add_node(called, _node(function, called), **self._options)
        graph.add_edge(START, called)
        definition = graph.definition(name=self._name or called, version=self._version, input_key="input")
        compiled = EntrypointGraph(definition, self._checkpointer, durability=self._durability)
        compiled.__doc__ = function.__doc__
        return compiled


def _node(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The workflow function as a node of its graph."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise GraphValidationError(
            [f"entrypoint {name!r} takes no positional argument: its first one is the input"]
        )
    wanted = {it.name for it in parameters[1:]} & {"previous", "runtime", "config"}
    if missing := [it.name for it in parameters[1:] if it.default is it.empty and it.name not in wanted
                   and it.kind not in (it.VAR_KEYWORD, it.VAR_POSITIONAL)]:  # fmt: skip
        raise GraphValidationError(
            [
                f"entrypoint {name!r} asks for {', '.join(map(repr, missing))}: it may take its input, previous, runtime and config"
            ]
        )

    def given(state: _Workflow, runtime: Runtime[Any]) -> dict[str, Any]:
        offered = {"previous": state.get("previous"), "runtime": runtime, "config": runtime.config}
        return {key: value for key, value in offered.items() if key in wanted}

    def written(returned: Any) -> dict[str, Any]:
        if isinstance(returned, Final):
            return {"result": returned.value, "previous": returned.save}
        return {"result": returned, "previous": returned}

    if inspect.iscoroutinefunction(function):

        async def arun(state: _Workflow, runtime: Runtime[Any]) -> dict[str, Any]:
            return written(await function(state.get("input"), **given(state, runtime)))

        return arun

    def run(state: _Workflow, runtime: Runtime[Any]) -> dict[str, Any]:
        return written(function(state.get("input"), **given(state, runtime)))

    return run
