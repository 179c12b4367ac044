"""Identifiers: time-ordered UUIDs for new things, derived ones for idempotency keys."""

from __future__ import annotations

import os
import time
import uuid

_NAMESPACE = uuid.UUID("6f1f3f1e-5a2b-4d55-9a2e-7f0c8a3f9d10")


def new_id() -> str:
    """A new UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random bits; sorts by creation time."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def derived_id(*parts: str) -> str:
    """The UUIDv5 of ``parts``: the same parts give the same id in every process."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(f"{len(part)}:{part}" for part in parts)))
