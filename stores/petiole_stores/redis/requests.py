"""Requests and answers of the scripts: msgpack both ways; blobs travel beside it, for Lua's msgpack has no bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from petiole_stores.errors import CorruptionError
from petiole_stores.records import Amendment, Blob, NewRun, Outcome
from petiole_stores.redis.texts import readable

T = TypeVar("T")

pack = msgspec.msgpack.encode


def decoder(type: type[T]) -> Callable[[bytes], T]:
    """What reads the answer of a script; of text that is damaged it reads what can be read."""
    strict = msgspec.msgpack.Decoder(type).decode

    def decode(answer: bytes) -> T:
        try:
            return strict(answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return strict(readable(answer))

    return decode


def optional(type: type[T]) -> Callable[[bytes], T | None]:
    """As :func:`decoder`, for an answer that may be null."""
    return decoder(type | None)  # type: ignore[arg-type]


def run_request(run: NewRun) -> dict[str, Any]:
    """A run as submit.lua takes it: with the number of its blobs in their place."""
    return {**_fields(run), "blobs": len(run.blobs)}


def outcome_request(outcome: Outcome) -> dict[str, Any]:
    """An outcome as finish.lua takes it: with the number of its blobs in their place."""
    return {**_fields(outcome), "blobs": len(outcome.blobs)}


def amendment_request(amendment: Amendment) -> dict[str, Any]:
    """An amendment as amend.lua takes it: with the number of its blobs in their place."""
    return {**_fields(amendment), "blobs": len(amendment.blobs)}


def _fields(record: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def blob_args(blobs: Iterable[Blob]) -> list[bytes]:
    """Two arguments for each blob: its digest, and codec NUL checksum NUL data."""
    args: list[bytes] = []
    for blob in blobs:
        args += blob.digest.encode(), b"%b\0%b\0%b" % (blob.codec.encode(), blob.checksum.encode(), blob.data)
    return args


def blob_of(digest: str, payload: bytes) -> Blob:
    """The blob of a payload that :func:`blob_args` made. Raises CorruptionError for any other."""
    try:
        codec, checksum, data = payload.split(b"\0", 2)
        return Blob(digest=digest, codec=codec.decode(), data=data, checksum=checksum.decode())
    except ValueError as error:
        raise CorruptionError(
            f"blob {digest}: what is stored under its name is no blob: restore a backup"
        ) from error
