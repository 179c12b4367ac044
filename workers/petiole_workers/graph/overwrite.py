"""`Overwrite`: a write that replaces the value of a reduced key instead of being joined to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeGuard

from petiole_workers.graph.names import MISSING

#: The key, or the type, by which the plain forms of an Overwrite are known.
MARK: Final = "__overwrite__"


@dataclass(slots=True)
class Overwrite:
    """Sets a key to ``value``, past its reducer.

    Writes of the same superstep to that key are dropped, before it and after it; a second Overwrite of the key in one
    superstep is an InvalidUpdateError. The plain dict ``{"__overwrite__": value}`` means the same for a reduced key, and so
    does what JSON makes of an Overwrite. A key without a reducer takes it as it takes the value.
    """

    value: Any
    type: Literal["__overwrite__"] = MARK


def overwritten(write: object) -> object:
    """The value that ``write`` sets past the reducer, in any of the three forms; `MISSING` for an ordinary write."""
    if isinstance(write, dict):
        if len(write) == 1 and MARK in write:
            return write[MARK]
        if write.get("type") == MARK and "value" in write:
            return write["value"]
        return MISSING
    return write.value if is_overwrite(write) else MISSING


def is_overwrite(write: object) -> TypeGuard[Overwrite]:
    """Whether ``write`` is an Overwrite object (LangGraph's class counts)."""
    return type(write).__name__ == "Overwrite" and getattr(write, "type", None) == MARK


def plain(update: object) -> object:
    """``update`` (a mapping of keys to writes) with its Overwrite objects in their plain form; anything else as it is.

    A run's input is stored before the classes of its graph are known, and so must not hold objects of this one.
    """
    if not isinstance(update, Mapping) or not any(map(is_overwrite, update.values())):
        return update
    return {key: {MARK: write.value} if is_overwrite(write) else write for key, write in update.items()}
