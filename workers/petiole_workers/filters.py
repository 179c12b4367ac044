"""Filters of searches: what a value's keys must be. The operators are LangGraph's."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from petiole_stores.errors import InputError

_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_KNOWN = ("$eq", "$ne", *_ORDERED)


def matches(value: Mapping[str, Any], filter: Mapping[str, Any]) -> bool:
    """Whether each key of ``filter`` is in ``value`` what the filter says.

    What is missing equals ``None``, and is neither above nor below anything. Raises InputError for an unknown operator.
    """
    return all(_is(value.get(key), wanted) for key, wanted in filter.items())


def _is(found: Any, wanted: Any) -> bool:
    """Plain values are compared; dicts by the keys that the filter names, lists item by item."""
    if isinstance(wanted, Mapping):
        if any(isinstance(key, str) and key.startswith("$") for key in wanted):
            return all(_holds(found, name, bound) for name, bound in wanted.items())
        return isinstance(found, Mapping) and all(_is(found.get(key), part) for key, part in wanted.items())
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(wanted)
            and all(_is(part, other) for part, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def _holds(found: Any, name: str, bound: Any) -> bool:
    if name == "$eq":
        return bool(found == bound)
    if name == "$ne":
        return bool(found != bound)
    if name not in _ORDERED:
        raise InputError(f"the filter has the operator {name!r}: known are {', '.join(_KNOWN)}")
    pair = _numbers(found, bound) or (found, bound)
    try:
        return bool(_ORDERED[name](*pair))
    except TypeError:  # they have no order, as a number and None
        return False


def _numbers(*values: Any) -> tuple[float, ...] | None:
    """The values as numbers, which text may be too, as in LangGraph; ``None`` if one of them is none."""
    try:
        return tuple(float(value) for value in values)
    except (TypeError, ValueError):
        return None
