"""Readers of typed documents, made when a module is imported.

msgspec learns a type's layout when something first reads it, and two threads that are the first at once crash the
process (msgspec 0.22: a segmentation fault). So every reader is made at import, where one thread is at work:
``msgspec.convert`` and ``decode(..., type=)`` are called nowhere else, which a test sees to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def decoder(type: type[T]) -> Callable[[bytes | str], T]:
    """What reads JSON of a type. The reader raises ``msgspec.MsgspecError`` for what is none."""
    return msgspec.json.Decoder(type).decode


def unpacker(type: type[T]) -> Callable[[bytes], T]:
    """What reads msgpack of a type. The reader raises ``msgspec.MsgspecError`` for what is none."""
    return msgspec.msgpack.Decoder(type).decode


def converter(type: type[T], *, strict: bool = True) -> Callable[[object], T]:
    """What makes a type of plain values; not ``strict``: of text too, where a number or a flag is due.

    The reader raises ``msgspec.ValidationError`` for what does not fit.
    """
    msgspec.json.Decoder(type)  # for what msgspec learns of the type

    def convert(value: Any) -> T:
        return msgspec.convert(value, type, strict=strict)

    return convert
