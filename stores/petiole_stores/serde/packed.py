"""Values as bytes: msgpack with one extension code for each kind. This is what a blob holds.

Bytes need none of JSONB's rules, so a value made only of plain types takes one pass to be checked level by level and
one to be encoded, both at the speed of C. Anything else is walked.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec

from petiole_stores.errors import PetioleError, SerializationError
from petiole_stores.serde import kinds
from petiole_stores.serde.classes import Registry
from petiole_stores.serde.kinds import Kind

#: Containers within containers that a value may have. An object counts as three: that is what reading it back takes
#: of the interpreter's stack.
MAX_DEPTH = 300
_OBJECT_DEPTH = 3

_PLAIN = frozenset({str, int, float, bool, type(None), bytes, list, dict})
_LEAVES = frozenset({float, bool, type(None), bytes})
_encode = msgspec.msgpack.Encoder().encode
_Ext = msgspec.msgpack.Ext


class NotStorable(Exception):
    """A value has no stored form; explain.py finds where it is and says why."""


def is_plain(value: object) -> bool:
    """Whether msgpack alone keeps the exact types of a value: looks at one level of all containers at a time."""
    if type(value) not in _PLAIN:
        return False
    dicts: list[Any] = [value] if type(value) is dict else []
    lists: list[Any] = [value] if type(value) is list else []
    for _ in range(MAX_DEPTH):
        if not dicts and not lists:
            return True
        if not set(map(type, chain.from_iterable(dicts))) <= {str}:
            return False
        children = list(chain.from_iterable(map(dict.values, dicts)))
        children.extend(chain.from_iterable(lists))
        types = set(map(type, children))
        if not types <= _PLAIN:
            return False
        dicts = _only(dict, children) if dict in types else []
        lists = _only(list, children) if list in types else []
    raise NotStorable


def _only(cls: type, items: list[Any]) -> list[Any]:
    """The items of one type, each object once: what holds itself twice would otherwise double with each level."""
    found = [item for item in items if type(item) is cls]
    return list(dict(zip(map(id, found), found, strict=True)).values())


class Packer:
    """Packs and unpacks values whose classes are in a registry."""

    def __init__(self, registry: Registry) -> None:
        self._kinds = registry.by_type
        self._loaders = registry.by_code
        self._decode = msgspec.msgpack.Decoder(ext_hook=self._from_ext).decode

    def pack(self, value: object) -> bytes:
        """The bytes of a value.

        Raises:
            NotStorable: something in it has no stored form, or it is too deep.
        """
        try:
            if is_plain(value):
                return _encode(value)
        except (OverflowError, UnicodeEncodeError):
            pass  # an integer beyond 64 bits or a lone surrogate: both have kinds of their own
        return _encode(self._walk(value, MAX_DEPTH))

    def unpack(self, data: bytes) -> Any:
        """The value of some bytes.

        Raises:
            SerializationError: they are no packed value (UnfitError: this process lacks a class).
        """
        try:
            return self._decode(data)
        except PetioleError:
            raise
        except RecursionError:
            raise SerializationError("the packed value is nested too deep to be read") from None
        except Exception as error:
            raise SerializationError(f"these bytes are no packed value: {error}") from error

    def _walk(self, value: Any, depth: int) -> object:
        cls = type(value)
        if cls is str:
            return value if value.isascii() else _text(value)
        if cls is int:
            return value if -(1 << 63) <= value < 1 << 64 else self._ext(kinds.INT, value, depth)
        if cls in _LEAVES:
            return value
        if depth <= 0:
            raise NotStorable
        if cls is list:
            items = []
            for item in value:
                items.append(self._walk(item, depth - 1))  # noqa: PERF401 - a frame less of the stack
            return items
        if cls is dict:
            for key in value:
                if type(key) is not str or not (key.isascii() or _text(key) is key):
                    return self._ext(kinds.DICT, value, depth)
            fields = {}
            for key, item in value.items():
                fields[key] = self._walk(item, depth - 1)
            return fields
        kind = self._kinds.get(cls)
        if kind is None:
            raise NotStorable
        return self._ext(kind, value, depth)

    def _ext(self, kind: Kind, value: Any, depth: int) -> object:
        payload = self._walk(kind.dump(value), depth - _OBJECT_DEPTH)
        if kind.code in (2, 3) and isinstance(
            payload, list
        ):  # sets have no order: the same set, the same bytes
            payload.sort(key=_encode)
        return _Ext(kind.code, _encode(payload))

    def _from_ext(self, code: int, data: memoryview) -> object:
        loader = self._loaders.get(code)
        if loader is None:
            raise SerializationError(
                f"the packed value uses extension code {code}, which this version of Petiole does not know: upgrade it"
            )
        return loader(self._decode(data))


def _text(value: str) -> object:
    """A string as it is, or as an extension where UTF-8 has no form for it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return _Ext(kinds.STR.code, _encode(kinds.STR.dump(value)))
    return value
