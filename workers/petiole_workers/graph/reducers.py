"""How the writes of one superstep become one value of a state key."""

from __future__ import annotations

import collections.abc
import copy
import inspect
import operator
import typing
from collections.abc import Callable, Sequence
from typing import Any

import typing_extensions

from petiole_workers.graph.names import MISSING

Reducer = Callable[[Any, Any], Any]

WRAPPERS = tuple(
    wrapper
    for module in (typing, typing_extensions)
    for name in ("Required", "NotRequired", "ReadOnly")
    if (wrapper := getattr(module, name, None)) is not None
)

_CONCRETE: dict[object, type] = {
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}

#: Types whose values nobody can change in place.
_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes)

#: In-place forms of operators that leave both operands alone, for the exact built-in types that have them.
_IN_PLACE: dict[object, dict[type, Callable[[Any, Any], object]]] = {
    operator.add: {list: list.extend},
    operator.concat: {list: list.extend},
    operator.or_: {dict: dict.update, set: set.update},
}
_PURE_OPERATORS = (operator.add, operator.concat, operator.or_, operator.and_, operator.mul, max, min)
_PURE_TYPES = (list, dict, set, frozenset, tuple)


def bare_type(annotation: object) -> object:
    """``annotation`` without Annotated, Required, NotRequired, ReadOnly and type arguments."""
    origin = getattr(annotation, "__origin__", None)
    if origin is None:
        return annotation
    return bare_type(annotation.__args__[0] if origin in WRAPPERS else origin)  # type: ignore[attr-defined]


def initial_value(annotation: object) -> object:
    """The value that a reduced key has before the first write: its type called without arguments.

    A list is ``[]``, an int ``0``; `MISSING` where the type cannot be made so (``list | None``), and then the
    first write becomes the value as it is. LangGraph's rule.
    """
    kind = bare_type(annotation)
    kind = _CONCRETE.get(kind, kind)
    try:
        return kind()  # type: ignore[operator]
    except Exception:  # noqa: BLE001 - a user's class may raise anything: it then has no initial value
        return MISSING


def takes_two(reducer: Callable[..., object]) -> bool:
    """Whether ``reducer`` has the signature ``(current, update)``; builtins that hide theirs are believed."""
    try:
        parameters = inspect.signature(reducer).parameters.values()
    except (TypeError, ValueError):
        return True
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters) == 2


def fold(reducer: Reducer, current: object, updates: Sequence[object]) -> object:
    """Applies ``updates`` to ``current`` in order.

    Neither ``current`` nor an update is changed, even by a reducer that works in place: what such a one is about
    to touch is copied first (one with ``pure = True`` is believed). So a settle that is made again sees what it saw the first time.
    """
    rest = list(updates)
    value = rest.pop(0) if current is MISSING and rest else current
    if not rest:
        return value
    if reducer not in _PURE_OPERATORS and not getattr(reducer, "pure", False):
        value = _private(value)
        for update in rest:
            # A reducer may hand back the update itself, and change it when the next one comes.
            value = reducer(value, _private(update))
        return value
    made_here = False
    for update in rest:
        in_place = _IN_PLACE.get(reducer, {}).get(type(value))
        if made_here and in_place is not None and type(update) is type(value):
            # The list is ours: growing it keeps a fan-in of thousands linear.
            in_place(value, update)
            continue
        pure = isinstance(value, _IMMUTABLE) or type(value) in _PURE_TYPES
        value = reducer(value if pure else _private(value), update)
        made_here = in_place is not None and type(update) is type(value)
    return value


def _private(value: object) -> object:
    return value if isinstance(value, _IMMUTABLE) else copy.deepcopy(value)
