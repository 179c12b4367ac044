"""How far somebody has followed a run: what an event id says, and what following goes on from."""

from __future__ import annotations

import base64
import binascii
import zlib
from copy import deepcopy

import msgspec

from petiole_stores.decoding import unpacker
from petiole_stores.errors import InputError

VERSION = 1
#: Ids longer than this are compressed: those of wide supersteps.
LONG = 120


class OpenStep(msgspec.Struct, array_like=True):
    """The superstep after the newest checkpoint of one namespace, as far as it was told of.

    begun: how many of its tasks, in the order made, were told to begin.
    ended: those told to have ended, as a bit for each in that order: a number of bytes, so that any order of ends is exact.
    asked: for each of its tasks that asked (by number), the ids of its questions that were told.
    failed: for each of its tasks that is a graph and was told to have failed (by number), how many tasks in that graph had been
        replaced by then: a replay replaces those alone, and lets the task around them go on.
    """

    checkpoint_id: str
    step: int
    begun: int = 0
    ended: bytes = b""
    asked: dict[int, list[str]] = {}
    failed: dict[int, int] = {}

    def has_ended(self, index: int) -> bool:
        return index // 8 < len(self.ended) and bool(self.ended[index // 8] >> index % 8 & 1)

    def end(self, index: int) -> None:
        bits = bytearray(self.ended.ljust(index // 8 + 1, b"\0"))
        bits[index // 8] |= 1 << index % 8
        self.ended = bytes(bits)


class Position(msgspec.Struct, array_like=True):
    """A place in the stream of one run.

    seq: of the newest checkpoint that was told of; all of the run's before it were.
    event: ``seq`` of the newest event that was told of.
    steps: by namespace.
    fact, number: a fact of which the first so many chunks were told; empty between two facts.
    """

    run_id: str
    seq: int = 0
    event: int = 0
    steps: dict[str, OpenStep] = {}
    fact: str = ""
    number: int = 0

    def copy(self) -> Position:
        return deepcopy(self)

    def within(self, fact: str, number: int) -> Position:
        """This place, and so many chunks of the next fact."""
        return msgspec.structs.replace(self, fact=fact, number=number)

    @property
    def token(self) -> str:
        """The place as an event id: opaque, of letters, digits, ``-`` and ``_``."""
        data = msgspec.msgpack.encode((VERSION, self))
        if len(data) > LONG:
            data = b"z" + zlib.compress(data, 1)
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    @classmethod
    def parse(cls, token: str) -> Position:
        """Raises InputError for what is no event id."""
        try:
            data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            if data[:1] == b"z":
                data = zlib.decompress(data[1:])
            version, position = _token(data)
        except (binascii.Error, ValueError, zlib.error, msgspec.DecodeError) as error:
            raise InputError(
                f"event id {token[:40]!r} is none of a stream's: take it as it was given"
            ) from error
        if version != VERSION:
            raise InputError(
                f"event id {token[:40]!r} is of another version of Petiole: follow the run from its start"
            )
        return position


_token = unpacker(tuple[int, Position])
