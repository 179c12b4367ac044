"""How a node's or router's function is called: decided once, when it is added to the graph."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.runtime import Runtime

#: Turns an awaitable into its result; `run_awaitable` is the default everywhere.
Runner = Callable[[Awaitable[object]], object]

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class GraphFunction:
    """A user's function and the way to call it.

    fn: the function, method or other callable.
    is_async: calling it gives an awaitable.
    extra: what is passed beside the state: nothing, the `Runtime`, or LangGraph's config.
    keyword: the name to pass the extra by; ``None`` for by position.
    """

    fn: Callable[..., Any]
    is_async: bool
    extra: Literal["runtime", "config"] | None = None
    keyword: str | None = None

    def __call__(self, state: object, runtime: Runtime) -> object:
        """What the function returns: an awaitable where it is async."""
        if self.extra is None:
            return self.fn(state)
        extra = runtime if self.extra == "runtime" else runtime.config
        return self.fn(state, extra) if self.keyword is None else self.fn(state, **{self.keyword: extra})


def graph_function(fn: Callable[..., Any], role: str) -> GraphFunction:
    """Reads the signature of ``fn``.

    The state is the first argument. A parameter called ``runtime`` gets the `Runtime`, wherever it stands; so
    does the second positional one if it has no default. One called ``config`` gets LangGraph's config shape.

    role: what ``fn`` is, for the message, such as ``node 'fetch'``.

    Raises GraphValidationError for what is not callable, a generator, or a signature that takes neither
    ``(state)`` nor ``(state, runtime)``.
    """
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
    extra, keyword, filled = _extra(parameters, positional)
    unfilled = [
        p.name
        for p in parameters
        if p.default is p.empty
        and (p in positional or p.kind is inspect.Parameter.KEYWORD_ONLY)
        and p not in positional[:1]
        and p is not filled
    ]
    if unfilled:
        raise GraphValidationError(
            [
                f"{role} asks for {', '.join(map(repr, unfilled))}: it may take (state) or (state, runtime) only"
            ]
        )
    return GraphFunction(fn, is_async, extra, keyword)


def _extra(
    parameters: list[inspect.Parameter], positional: list[inspect.Parameter]
) -> tuple[Literal["runtime", "config"] | None, str | None, inspect.Parameter | None]:
    """What to pass beside the state, by which keyword, and the parameter that it fills."""
    for name in ("runtime", "config"):
        for p in parameters:
            # A config with a default of its own kind is the author's; only a bare or None one is asked of us.
            ours = name == "runtime" or p.default in (p.empty, None)
            if p.name == name and p not in positional[:1] and ours and "VAR" not in p.kind.name:
                by_keyword = p.kind is not inspect.Parameter.POSITIONAL_ONLY
                return ("runtime" if name == "runtime" else "config"), (name if by_keyword else None), p
    if len(positional) > 1 and positional[1].default is inspect.Parameter.empty:
        return "runtime", None, positional[1]
    return None, None, None


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


def call(function: GraphFunction, state: object, runtime: Runtime, runner: Runner = run_awaitable) -> object:
    """Calls ``function`` and waits for its result."""
    returned = function(state, runtime)
    return runner(returned) if inspect.isawaitable(returned) else returned


async def acall(function: GraphFunction, state: object, runtime: Runtime) -> object:
    """Calls ``function`` from a coroutine; a sync one runs in a thread, so that it does not hold up the loop."""
    if function.is_async:
        return await function(state, runtime)  # type: ignore[misc]
    returned = await asyncio.to_thread(function, state, runtime)
    return await returned if inspect.isawaitable(returned) else returned
