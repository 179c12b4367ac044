"""How a node's or router's function is called: decided once, when it is added to the graph."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.runtime import Runtime, running

#: Turns an awaitable into its result; `run_awaitable` is the default everywhere.
Runner = Callable[[Awaitable[object]], object]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


#: The parameters that are filled in by their names, and what each takes of the runtime.
INJECTED: dict[str, Callable[[Runtime[Any]], object]] = {
    "runtime": lambda runtime: runtime,
    "config": lambda runtime: runtime.config,
}


@dataclass(frozen=True, slots=True)
class GraphFunction:
    """A user's function and the way to call it.

    fn: the function, method or other callable.
    is_async: calling it gives an awaitable.
    second: which of `INJECTED` is passed by position, after the state; ``None`` for nothing.
    named: which of `INJECTED` are passed by keyword.
    """

    fn: Callable[..., Any]
    is_async: bool
    second: str | None = None
    named: tuple[str, ...] = ()

    @property
    def takes(self) -> frozenset[str]:
        """Which of `INJECTED` it asks for."""
        return frozenset((*self.named, *([self.second] if self.second else [])))

    def __call__(self, state: object, runtime: Runtime[Any]) -> object:
        """What the function returns: an awaitable where it is async. Within it, `get_runtime` gives ``runtime``."""
        more = () if self.second is None else (INJECTED[self.second](runtime),)
        named = {name: INJECTED[name](runtime) for name in self.named}
        with running(runtime):
            returned = self.fn(state, *more, **named)
        return _within(returned, runtime) if inspect.isawaitable(returned) else returned


async def _within(awaitable: Awaitable[object], runtime: Runtime[Any]) -> object:
    with running(runtime):
        return await awaitable


def graph_function(fn: Any, role: str) -> GraphFunction:
    """Reads the signature of ``fn``.

    The state is the first argument. Parameters that are called as in `INJECTED` are filled in wherever they stand:
    ``runtime`` gets the `Runtime`, ``config`` LangGraph's config. So is the second positional one if it has no default: with
    the config where it is annotated as a RunnableConfig, else with the runtime.

    An object with ``invoke`` and ``ainvoke``, as LangChain's Runnables are, is called by ``invoke(state, config)``.

    role: what ``fn`` is, for the message, such as ``node 'fetch'``.

    Raises GraphValidationError for what is not callable, a generator, or a signature that asks for anything else.
    """
    if is_runnable(fn):
        runnable: Any = fn
        # LangChain's wrapper of a coroutine function cannot be invoked otherwise.
        only_async = getattr(fn, "func", None) is None and getattr(fn, "afunc", None) is not None
        return GraphFunction(runnable.ainvoke if only_async else runnable.invoke, only_async, second="config")
    if not callable(fn):
        raise GraphValidationError([f"{role} is {fn!r}, which is not callable: give a function of the state"])
    target = _unwrapped(fn)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise GraphValidationError([f"{role} is a generator ({fn!r}): return the update instead of yielding"])
    is_async = inspect.iscoroutinefunction(target)
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # builtins without a signature
        return GraphFunction(fn, is_async)
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    variadic = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
    if not positional and not variadic:
        raise GraphValidationError([f"{role} takes no positional argument: its first one is the state"])
    second = _second(positional)
    named = tuple(p.name for p in parameters if p not in positional[:1] and _is_injected(p))
    unfilled = [
        p.name
        for p in parameters
        if p.default is p.empty
        and (p in positional or p.kind is inspect.Parameter.KEYWORD_ONLY)
        and p not in positional[:1]
        and p.name not in named
        and not (second is not None and p is positional[1])
    ]
    if unfilled:
        wanted = ", ".join(map(repr, unfilled))
        may = f"it may take (state), (state, runtime) or (state, config), and by name {', '.join(INJECTED)}"
        raise GraphValidationError([f"{role} asks for {wanted}: {may}"])
    return GraphFunction(fn, is_async, second, named)


def is_runnable(fn: object) -> bool:
    """Whether ``fn`` is to be called by its ``invoke``, as LangChain's Runnables are."""
    if isinstance(fn, type) or inspect.isroutine(fn) or type(fn).__module__ == "petiole_workers.compiled":
        return False
    return all(callable(getattr(fn, method, None)) for method in ("invoke", "ainvoke"))


def _is_injected(parameter: inspect.Parameter) -> bool:
    if parameter.name not in INJECTED or parameter.kind not in _BY_KEYWORD:
        return False
    # One with a default of its own kind is the author's; only a bare or None one is asked of us.
    return parameter.name == "runtime" or parameter.default in (parameter.empty, None)


def _second(positional: list[inspect.Parameter]) -> str | None:
    """What the second positional parameter gets, where it is not filled by its name."""
    if len(positional) < 2 or positional[1].default is not inspect.Parameter.empty:
        return None
    second = positional[1]
    if _is_injected(second):
        return None
    wants_config = second.name == "config" or "RunnableConfig" in str(second.annotation)
    return "config" if wants_config else "runtime"


def _unwrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside partials, or the ``__call__`` of an object: what tells whether it is async."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if not (inspect.isroutine(fn) or inspect.isclass(fn)):
        return type(fn).__call__
    return fn


def run_awaitable(awaitable: Awaitable[object]) -> object:
    """Waits for ``awaitable`` on an event loop of its own, in a thread of its own if this one has a running loop."""

    async def wait() -> object:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    outcome: list[object] = []
    failure: list[BaseException] = []
    context = contextvars.copy_context()

    def target() -> None:
        try:
            outcome.append(context.run(asyncio.run, wait()))
        except BaseException as exc:  # noqa: BLE001 - raised again below, in the caller's thread
            failure.append(exc)

    thread = threading.Thread(target=target, name="petiole-awaitable")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def call(
    function: GraphFunction, state: object, runtime: Runtime[Any], runner: Runner = run_awaitable
) -> object:
    """Calls ``function`` and waits for its result."""
    returned = function(state, runtime)
    return runner(returned) if inspect.isawaitable(returned) else returned


async def acall(function: GraphFunction, state: object, runtime: Runtime[Any]) -> object:
    """Calls ``function`` from a coroutine; a sync one runs in a thread, so that it does not hold up the loop."""
    if function.is_async:
        return await function(state, runtime)  # type: ignore[misc]
    returned = await asyncio.to_thread(function, state, runtime)
    return await returned if inspect.isawaitable(returned) else returned
