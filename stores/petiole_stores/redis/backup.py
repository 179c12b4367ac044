"""Copies of a Redis store in one file: a header, then each key as the server's own DUMP has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from redis.exceptions import ResponseError

from petiole_stores.decoding import unpacker
from petiole_stores.errors import ConfigurationError, SchemaError, StoreError

MAGIC = b"petiole redis backup 1\n"
_BATCH = 500


class Header(msgspec.Struct):
    partitions: int
    schema: int = 1


class Entry(msgspec.Struct, array_like=True):
    """One key without its prefix, what DUMP gave, and when it expires (milliseconds since the epoch; 0: never)."""

    key: bytes
    data: bytes
    expires_at: int


def dump(client: Any, prefix: str, meta_key: str, path: Path) -> int:
    """Write every key that begins with the prefix to a new file; returns how many there were."""
    count = 0
    schema, partitions = map(int, client.hmget(meta_key, "schema", "partitions"))
    with path.open("xb") as file:
        file.write(MAGIC)
        _write(file, Header(partitions, schema))
        seen: set[bytes] = set()
        for keys in _batches(client.scan_iter(match=f"{prefix}:{{*", count=_BATCH)):
            fresh = [key for key in dict.fromkeys(keys) if key not in seen and key != meta_key.encode()]
            seen.update(fresh)
            with client.pipeline(transaction=False) as pipeline:
                for key in fresh:
                    pipeline.dump(key)
                    pipeline.execute_command("PEXPIRETIME", key)
                answers = pipeline.execute()
            for key, data, expires_at in zip(fresh, answers[::2], answers[1::2], strict=True):
                if data is not None:
                    _write(file, Entry(key[len(prefix) :], data, max(expires_at, 0)))
                    count += 1
    return count


def load(client: Any, prefix: str, partitions: int, schema: int, path: Path) -> tuple[int, int]:
    """Write every key of a file back; returns how many there were, and of which schema they are.

    Raises StoreError when one exists already, SchemaError when they are of a schema above ``schema``.
    """
    count = 0
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise StoreError(f"{path} is no backup of a Redis store")
        header = _header(next(_read(file, path)))
        if header.partitions != partitions:
            raise ConfigurationError(
                f"{path} holds {header.partitions} partitions, the store was set up with {partitions}: restore into "
                f"another prefix with partitions={header.partitions} in the URL"
            )
        if header.schema > schema:
            raise SchemaError(
                f"{path} has schema {header.schema}, this Petiole works with {schema}: upgrade Petiole"
            )
        for records in _batches(_read(file, path)):
            entries = [_entry(record) for record in records]
            with client.pipeline(transaction=False) as pipeline:
                for entry in entries:
                    pipeline.restore(prefix.encode() + entry.key, entry.expires_at, entry.data, absttl=True)
                try:
                    pipeline.execute()
                except ResponseError as error:
                    if "BUSYKEY" not in str(error):
                        raise
                    raise StoreError(
                        f"the store with the prefix {prefix!r} holds data already: restore {path} into another prefix"
                    ) from error
            count += len(entries)
    return count, header.schema


def _write(file: BinaryIO, record: msgspec.Struct) -> None:
    data = msgspec.msgpack.encode(record)
    file.write(len(data).to_bytes(8, "big") + data)


def _read(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while head := file.read(8):
        data = file.read(int.from_bytes(head, "big"))
        if len(head) < 8 or len(data) < int.from_bytes(head, "big"):
            raise StoreError(f"{path} is cut short: take another copy of the backup")
        yield data


def _batches(items: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for item in items:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


_header = unpacker(Header)
_entry = unpacker(Entry)
