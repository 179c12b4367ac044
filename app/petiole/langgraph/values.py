"""Values of a LangGraph thread in Petiole's documents: plain ones as readable JSON, all others through LangGraph's serde."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from petiole_stores.errors import SerializationError

#: The key of the dict that stands for a value which LangGraph's serde wrote: ``{_MARK: [type, bytes]}``. Any process can
#: read and copy it, with LangGraph or without.
_MARK = "__langgraph__"
#: Deeper values go through LangGraph's serde as well.
_DEPTH = 60

_SCALARS = frozenset({str, int, float, bool, type(None), bytes, date, timedelta, Decimal, UUID})
_SEQUENCES = frozenset({list, tuple, set, frozenset})


class Values:
    """Turns the values of one checkpoint into what a Petiole store takes, and back.

    With LangGraph's own serializer, plain values stay as they are, so that Petiole's tools show them. Any other one
    (LangGraph's ``EncryptedSerializer``, a serializer of the user's) gets every value.
    """

    def __init__(self, serde: SerializerProtocol) -> None:
        self._serde = serde
        self._readable = isinstance(serde, JsonPlusSerializer)

    def dump(self, values: Mapping[str, Any], *, what: str) -> dict[str, Any]:
        """The stored form of each value; ``what`` names the mapping in the message of a SerializationError."""
        return {key: self._dump(value, f"{what} {key!r}") for key, value in values.items()}

    def load(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The values of what :meth:`dump` made."""
        return {key: self.load_one(value) for key, value in stored.items()}

    def load_one(self, stored: Any) -> Any:
        """The value that stands in a document as ``stored``."""
        return self.loads(*stored[_MARK]) if _is_marked(stored) else stored

    def dumps(self, value: Any, what: str) -> tuple[str, bytes]:
        """A value through LangGraph's serde: the name of the format, and bytes."""
        try:
            return self._serde.dumps_typed(value)
        except Exception as error:
            raise SerializationError(
                f"{what} is a {type(value).__module__}.{type(value).__qualname__} that LangGraph's serializer cannot "
                f"store ({error}): keep it out of the state, or give the saver a serde that can"
            ) from error

    def loads(self, kind: str, data: bytes) -> Any:
        """The value of what :meth:`dumps` made."""
        return self._serde.loads_typed((kind, data))

    def _dump(self, value: Any, what: str) -> Any:
        if self._readable and not _is_marked(value):
            try:
                return _plain(value, _DEPTH)
            except _NotPlainError:
                pass
        return {_MARK: list(self.dumps(value, what))}


class _NotPlainError(Exception):
    """Something in a value is of a class that not every process could read."""


def _plain(value: Any, depth: int) -> Any:
    """A copy of a value that Petiole's documents hold as it is, in any process: exact types, no classes of users.

    LangGraph saves in the background: while a copy is made, the graph may go on and change sets and lists of its
    channels in place. Copying a container itself is one step of the interpreter.
    """
    cls = type(value)
    if cls in _SCALARS:
        return value
    if depth == 0:
        raise _NotPlainError
    if cls is dict:
        items = [*value.items()]
        if all(type(key) is str for key, _ in items):
            return {key: _plain(item, depth - 1) for key, item in items}
    elif cls in _SEQUENCES:
        return cls([_plain(item, depth - 1) for item in [*value]])
    raise _NotPlainError


def _is_marked(value: Any) -> bool:
    return type(value) is dict and len(value) == 1 and _MARK in value
