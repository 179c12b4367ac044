"""What is different between two states, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from petiole.client.plain import plain

_ABSENT = object()


class Difference(msgspec.Struct, kw_only=True, frozen=True):
    """One part that is not the same in both; ``before`` and ``after`` as JSON can say them, ``None`` where it is not there."""

    path: str  #: ``messages[3].content``
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The differences of two states, key by key and down into what both have as a mapping or a list."""
    return [*_within("", plain(before), plain(after))]


def _within(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if before is _ABSENT:
        yield Difference(path=path, kind="added", after=after)
    elif after is _ABSENT:
        yield Difference(path=path, kind="removed", before=before)
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            step = f"{path}.{key}" if path else str(key)
            yield from _within(step, before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            yield from _within(f"{path}[{index}]", _at(before, index), _at(after, index))
    elif type(before) is not type(after) or before != after:
        yield Difference(path=path, kind="changed", before=before, after=after)


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else _ABSENT
