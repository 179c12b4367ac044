"""What `StateGraph` reads of the functions and options that a node is added with."""

from __future__ import annotations

import functools
import inspect
import types
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, cast

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.callables import is_runnable
from petiole_workers.graph.command import Command
from petiole_workers.graph.sources import NodeSource
from petiole_workers.graph.timeout import Seconds, TimeoutPolicy
from petiole_workers.retry import RetryStrategy

Policies = RetryStrategy | Sequence[RetryStrategy] | None
#: Where a node that returns Commands may go: names, or names and what to write on the arrows.
Destinations = Mapping[str, str] | Sequence[str]


def name_of(function: object) -> str:
    """The name of a node given without one: its function's, its Runnable's, or else its class's.

    LangGraph would take ``<lambda>`` and ``partial``, too: two of a kind then collide, and a name in the history of a
    thread should say what ran.
    """
    if is_runnable(function):
        name = _runnable_name(function)
    elif inspect.isroutine(function):
        name = getattr(function, "__name__", None)
    else:
        name = getattr(function, "__name__", type(function).__name__)
    if (
        not name
        or name == "<lambda>"
        or isinstance(function, functools.partial)
        or not callable_or_runnable(function)
    ):
        raise GraphValidationError(
            [f"a node's name cannot be told from {function!r}: name it, as in add_node('name', function)"]
        )
    return str(name)


def callable_or_runnable(function: object) -> bool:
    """Whether a node could be made of it."""
    return callable(function) or is_runnable(function) or isinstance(function, NodeSource)


def _runnable_name(runnable: Any) -> str | None:
    get_name = getattr(runnable, "get_name", None)
    return get_name() if callable(get_name) else getattr(runnable, "name", None) or type(runnable).__name__


def policies(given: Policies, role: str, faults: list[str]) -> tuple[RetryStrategy, ...]:
    """The strategies of a node; what is none of them is named in ``faults``."""
    if given is None:
        return ()
    found = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    faults += [
        f"{role} has the retry policy {policy!r}: give Exponential(), Fixed(), Adaptive(), Emergency(), "
        "RetryPolicy(), or a list of them"
        for policy in found
        if isinstance(policy, type) or not isinstance(policy, RetryStrategy)
    ]
    return cast("tuple[RetryStrategy, ...]", found)


def timeout_policy(
    given: Seconds | TimeoutPolicy | None, role: str, faults: list[str]
) -> TimeoutPolicy | None:
    """The timeouts of a node; what is none is named in ``faults``."""
    try:
        return TimeoutPolicy.of(given)
    except (TypeError, ValueError) as error:
        faults.append(f"{role} has timeout {given!r}: {error}")
        return None


def destinations(
    given: Destinations | None, returns: object, role: str, faults: list[str]
) -> dict[str, str | None]:
    """Where a node says that its Commands lead, by name, with what to write on the arrow (``None``: nothing).

    returns: its return annotation: ``Command[Literal["a", "b"]]`` says it as well, alone or in a union.
    """
    if isinstance(given, str):
        faults.append(
            f"{role} has destinations {given!r}: give a tuple of names, or a dict of names and labels"
        )
        return {}
    if isinstance(given, Mapping):
        return dict(given)
    return dict.fromkeys(_annotated_destinations(returns) if given is None else given)


def _annotated_destinations(returns: object) -> tuple[str, ...]:
    is_union = typing.get_origin(returns) in (typing.Union, types.UnionType)
    for option in typing.get_args(returns) if is_union else (returns,):
        origin, arguments = typing.get_origin(option), typing.get_args(option)
        is_command = isinstance(origin, type) and (
            issubclass(origin, Command)
            or (origin.__module__, origin.__name__) == ("langgraph.types", "Command")
        )
        if is_command and arguments and typing.get_origin(arguments[0]) is Literal:
            return typing.get_args(arguments[0])
    return ()


def renamed(function: str, given: dict[str, Any], names: Mapping[str, str], options: dict[str, Any]) -> None:
    """Moves arguments by their former LangGraph names into ``options``, with a DeprecationWarning for each.

    names: former name to present one. Raises TypeError for any other argument, as Python does.
    """
    for former, value in given.items():
        if former not in names:
            raise TypeError(f"{function}() got an unexpected keyword argument {former!r}")
        warnings.warn(
            f"{function}({former}=...) is deprecated: write {names[former]}=",
            DeprecationWarning,
            stacklevel=3,
        )
        if options.get(names[former]) is None:
            options[names[former]] = value


class Invocable(Protocol):
    """What is called by ``invoke``: a compiled graph, one of LangChain's Runnables."""

    def invoke(self, input: Any, config: Any = None) -> Any: ...


Function = Callable[..., Any] | Invocable
