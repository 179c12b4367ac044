"""Values as JSON text that PostgreSQL's JSONB keeps the meaning of.

JSONB sorts the keys of an object by (length in UTF-8, bytes) and keeps numbers as decimals. So:

- an object whose keys came in another order has ``"$order"``: for each key as it came, its place in JSONB's order;
- numbers that a decimal would change (not finite, -0.0, 1e16 and above, integers beyond 64 bits) are tagged;
- a value of another type is an object of one key, ``{"$tag": payload}``; users' keys that begin with "$" get another
  "$" in front; an object with keys that are no strings is ``{"$dict": [[key, value], ...]}``;
- what JSONB cannot hold (NUL, lone surrogates) is not inline: such a value becomes a blob, ``{"$blob": digest}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from petiole_stores.errors import PetioleError, SerializationError
from petiole_stores.serde import kinds
from petiole_stores.serde.classes import Registry
from petiole_stores.serde.kinds import Kind

#: Deeper values become blobs.
MAX_INLINE_DEPTH = 64

encode_json = msgspec.json.encode
_decode_json = msgspec.json.Decoder().decode
_BLOB_REFERENCE = re.compile(r'"\$blob"\s*:\s*"([0-9a-z]+)"')


class NotInline(Exception):
    """A value that has to become a blob: too large, too deep, or holding text that JSONB cannot hold."""


def blob_references(text: str) -> list[str]:
    """The digests of the blobs that a document refers to, in order, each once.

    In JSON text a quotation mark within a string is always escaped, so the pattern cannot match inside one.
    """
    return list(dict.fromkeys(_BLOB_REFERENCE.findall(text)))


def _jsonb_rank(key: str) -> tuple[int, bytes]:
    data = key.encode()
    return len(data), data


@lru_cache(maxsize=2048)
def key_order(keys: tuple[str, ...]) -> list[int] | None:
    """For each key its place in JSONB's order, or None when the keys stand in that order already."""
    ranked = sorted(range(len(keys)), key=lambda index: _jsonb_rank(keys[index]))
    order = [0] * len(keys)
    for place, index in enumerate(ranked):
        order[index] = place
    return None if order == list(range(len(keys))) else order


@lru_cache(maxsize=2048)
def _jsonb_sorted(keys: tuple[str, ...]) -> list[str]:
    return sorted(keys, key=_jsonb_rank)


def escape_key(key: str) -> str:
    return "$" + key if key.startswith("$") else key


class Writer:
    """Makes the JSON text of values that may stay inline."""

    def __init__(self, registry: Registry, limit: int) -> None:
        self._kinds = registry.by_type
        self._limit = limit

    def write(self, value: object) -> bytes:
        """The JSON text of a value.

        Raises:
            NotInline: it has to become a blob, or has no stored form at all.
        """
        try:
            data = encode_json(_Walk(self._kinds, self._limit).walk(value, MAX_INLINE_DEPTH))
        except UnicodeEncodeError:
            raise NotInline from None
        # "\\u0000" spelt out in a user's text is taken for NUL as well: a blob holds it just as well.
        if len(data) > self._limit or b"\\u0000" in data:
            raise NotInline
        return data


class _Walk:
    """One walk over a value, given up as soon as its text must pass the limit: an item takes two bytes at least."""

    __slots__ = ("budget", "kinds")

    def __init__(self, kinds: dict[type, Kind], limit: int) -> None:
        self.kinds = kinds
        self.budget = limit // 2 + 1

    def walk(self, value: Any, depth: int) -> object:
        cls = type(value)
        if cls is str:
            self.budget -= len(value) >> 1
            if self.budget < 0:
                raise NotInline
            return value
        if cls is bool or value is None:
            return value
        if cls is int:
            return value if -(1 << 63) <= value < 1 << 63 else {"$int": kinds.INT.dump(value)}
        if cls is float:
            # 0.0 and -0.0 are equal; only their texts differ.
            if -1e16 < value < 1e16 and (value or repr(value) == "0.0"):
                return value
            return {"$float": kinds.FLOAT.dump(value)}
        if depth <= 0:
            raise NotInline
        if cls is list:
            self._spend(len(value))
            walk = self.walk
            return [walk(item, depth - 1) for item in value]
        if cls is dict:
            return self._object(value, depth)
        kind = self.kinds.get(cls)
        if kind is None:
            raise NotInline
        if cls is bytes:
            self._spend(len(value))
            return {"$bytes": kind.dump(value)}
        payload = self.walk(kind.dump(value), depth - 1)
        if (cls is set or cls is frozenset) and isinstance(payload, list):
            payload.sort(key=encode_json)  # sets have no order: the same set, the same text
        return {f"${kind.tag}": payload}

    def _object(self, value: dict[Any, Any], depth: int) -> object:
        self._spend(len(value))
        walk = self.walk
        fields = {}
        for key, item in value.items():
            if type(key) is not str:
                return {"$dict": [[walk(k, depth - 2), walk(v, depth - 2)] for k, v in value.items()]}
            fields[escape_key(key)] = walk(item, depth - 1)
        if len(fields) > 1:
            order = key_order(tuple(fields))
            if order is not None:
                fields["$order"] = order
        return fields

    def _spend(self, items: int) -> None:
        self.budget -= items
        if self.budget < 0:
            raise NotInline


class Reader:
    """Makes values of JSON text, written here or returned by JSONB."""

    def __init__(self, registry: Registry) -> None:
        self._loaders = registry.by_tag

    def read(self, text: str, blob: Callable[[str], object]) -> Any:
        """The value of a document; ``blob`` gives the value of a blob by its digest.

        Raises:
            SerializationError: the text is no such document (UnfitError: this process lacks a class).
        """
        try:
            if '"$' not in text:
                return _decode_json(text)
            loaders = self._loaders

            def restore(fields: dict[str, Any]) -> object:
                for key in fields:
                    if key.startswith("$"):
                        break
                else:
                    return fields
                if len(fields) == 1 and not key.startswith("$$"):
                    return blob(fields[key]) if key == "$blob" else _load(loaders, key, fields[key])
                return _reordered(fields)

            return json.loads(text, object_hook=restore, parse_constant=_refuse_constant)
        except PetioleError:
            raise
        except RecursionError:
            raise SerializationError("the document is nested too deep to be read") from None
        except Exception as error:
            raise SerializationError(f"this is no document of Petiole's: {error}") from error


def _load(loaders: dict[str, Callable[[Any], object]], tag: str, payload: object) -> object:
    loader = loaders.get(tag)
    if loader is None:
        raise SerializationError(
            f"the document uses the tag {tag!r}, which this version of Petiole does not know: upgrade it"
        )
    return loader(payload)


def _reordered(fields: dict[str, Any]) -> dict[str, Any]:
    """An object with its keys in the order they came in and unescaped."""
    order = fields.pop("$order", None)
    keys = list(fields)
    if order is not None:
        ranked = _jsonb_sorted(tuple(keys))
        if sorted(order) != list(range(len(ranked))):
            raise SerializationError(f'the "$order" of an object with {len(ranked)} keys is {order!r}')
        keys = [ranked[place] for place in order]
    restored = {}
    for key in keys:
        if key.startswith("$") and not key.startswith("$$"):
            raise SerializationError(
                f"the key {key!r} stands beside other keys, where only users' escaped keys may"
            )
        restored[key[1:] if key.startswith("$") else key] = fields[key]
    return restored


def _refuse_constant(name: str) -> object:
    raise SerializationError(f"the document holds {name}, which is no JSON")
