"""One call of a store's method as a value: to be made on several stores, compared, and printed as Python."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field
from typing import Any

import msgspec

from petiole_stores.conformance.scene import plain
from petiole_stores.errors import ConflictError
from petiole_stores.store import Store

#: Methods that answer with refs in any order.
UNORDERED = ("due", "release", "wake")
LISTS_WITHOUT_ORDER = ("publish",)
#: Methods whose answer is a plain value that tells the cases apart.
TOLD = ("holds", "note", "quarantine", "delete_thread")
#: Parts of an answer that are told when there is something in them.
COUNTED = ("died", "expired", "woken", "revived", "checkpoints", "tasks", "blobs")


@dataclass
class Call:
    """One call of a store's method; ``str`` of it is Python to be pasted."""

    method: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def on(self, store: Store) -> Any:
        """The answer as plain values; what the contract leaves open is put in order.

        Left open: the order of ``publish`` and of what ``release`` and ``due`` give (``due`` by equal
        ``next_publish``; its order by time has a check of its own), and the values of ``seq``.
        """
        if self.method == "reopen":  # the store's owner does that
            return None
        try:
            found = getattr(store, self.method)(*copy.deepcopy(self.args), **copy.deepcopy(self.options))
        except ConflictError:
            return "ConflictError"
        return ordered(plain(found), loose=self.method in UNORDERED)

    def __str__(self) -> str:
        parts = [
            *map(source, self.args),
            *(f"{name}={source(value)}" for name, value in self.options.items()),
        ]
        return f"store.{self.method}({', '.join(parts)})"


def source(value: Any) -> str:
    """Python for a value: records without the fields that are as they are by default."""
    if isinstance(value, list):
        return f"[{', '.join(map(source, value))}]"
    if isinstance(value, msgspec.Struct):
        known = _fields(type(value))
        left_out = {
            f.name for f in known if not f.required and getattr(value, f.name) in (f.default, None, [])
        }
        said = [f"{f.name}={source(getattr(value, f.name))}" for f in known if f.name not in left_out]
        return f"{type(value).__name__}({', '.join(said)})"
    return repr(value)


@functools.cache
def _fields(record: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(record)


def ordered(answer: Any, *, loose: bool = False) -> Any:
    if isinstance(answer, dict):
        return {key: ordered(item, loose=key in LISTS_WITHOUT_ORDER) for key, item in answer.items()}
    if isinstance(answer, list):
        items = [ordered(item) for item in answer]
        return sorted(items, key=lambda item: item["task_id"]) if loose else items
    return answer


@dataclass
class Walk(Call):
    """All pages of ``recent`` since the walk before it, as a sorted list; each store has its own place."""

    places: dict[str, str] = field(default_factory=dict)

    def on(self, store: Store) -> Any:
        cursor = self.places.get(store.url.text, "")
        found: set[str] = set()
        while True:
            page, cursor = store.recent(cursor, **self.options)
            found.update(page)
            if not page:
                self.places[store.url.text] = cursor
                return sorted(found)


def reached(call: Call, answer: Any) -> list[str]:
    """What an answer says, for statistics: method, result and reason of each part."""
    parts = answer if isinstance(answer, list) else [answer]
    words = []
    for part in parts:
        if isinstance(part, dict) and "result" in part:
            words.append(" ".join(filter(None, [call.method, part["result"], part["reason"]])))
        elif part == "ConflictError":
            words.append(f"{call.method} ConflictError")
        elif call.method in TOLD:
            words.append(f"{call.method} {part}")
        else:
            words.append(call.method)
            full = [name for name in COUNTED if isinstance(part, dict) and part.get(name)]
            words += [f"{call.method} {name}" for name in full]
    if call.method in ("recent", "expired", "drop", "wake") and answer:
        words.append(f"{call.method} some")
    return words
