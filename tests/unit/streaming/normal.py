"""Chunks of two libraries made comparable: ids by their first appearance, no times, triggers as sets."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any

_ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")


def normal(chunks: Iterable[tuple[str, Any]], *, ordered: bool = True) -> list[Any]:
    """The chunks without what differs between two runs.

    ordered: the ends of one superstep's tasks are in an order that counts; else they are sorted.
    """
    known: dict[str, str] = {}
    plain = [(mode, _plain(data, known)) for mode, data in chunks]
    return plain if ordered else _sorted_ends(plain)


def _plain(data: Any, known: dict[str, str]) -> Any:
    if isinstance(data, dict):
        return {
            key: set(value) if key == "triggers" else _plain(value, known)
            for key, value in data.items()
            if key != "timestamp"
        }
    if isinstance(data, list | tuple):
        return [_plain(value, known) for value in data]
    if isinstance(data, BaseException) or type(data).__name__ == "Overwrite":
        return repr(data)
    if isinstance(data, str) and _ID.match(data):
        return known.setdefault(data, f"id{len(known)}")
    return data


def _sorted_ends(chunks: list[tuple[str, Any]]) -> list[Any]:
    """Ends of tasks that stand side by side, sorted. Their ids go: they were numbered in another order."""
    result: list[Any] = []
    for ends, group in itertools.groupby(chunks, key=is_end):
        nameless = [_nameless(chunk) for chunk in group]
        result += sorted(nameless, key=repr) if ends else nameless
    return result


def is_end(chunk: tuple[str, Any]) -> bool:
    """Whether a chunk tells that a task has ended."""
    mode, data = chunk
    return (
        mode == "updates"
        or (mode == "tasks" and "result" in data)
        or (mode == "debug" and data["type"] == "task_result")
    )


def _nameless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nameless(item) for key, item in value.items() if key != "id"}
    if isinstance(value, list | tuple):
        return type(value)(map(_nameless, value))
    return value


def is_of_a_task(chunk: tuple[str, Any]) -> bool:
    """Whether a chunk tells that a task begins or has ended, but for its update."""
    mode, data = chunk
    return mode == "tasks" or (mode == "debug" and data["type"] in ("task", "task_result"))
