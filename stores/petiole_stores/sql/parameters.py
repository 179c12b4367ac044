"""How records travel to Postgres: JSON text, and columns of blobs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from petiole_stores.records import Blob


def as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_NO_BLOBS: tuple[list[Any], ...] = ([], [], [], [], [])


def blob_columns(groups: Sequence[Sequence[Blob]]) -> tuple[list[Any], ...]:
    """The blobs of several owners as columns: the owner's position from 1, digest, codec, data, checksum."""
    if not any(groups):
        return _NO_BLOBS
    rows = [
        (owner, blob.digest, blob.codec, blob.data, blob.checksum)
        for owner, blobs in enumerate(groups, 1)
        for blob in blobs
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
