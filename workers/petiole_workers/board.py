"""The board: what each slot of a worker works on, seen by its main process without a message.

Shared memory that is made before the pool forks, one fixed-size record a slot. The slot writes its record when a task
begins and ends, the main process reads it whenever it likes and writes two marks into it: that the work is no longer
wanted, and that the main process has ended a node whose time was over. All times are those of ``CLOCK_MONOTONIC``,
which the processes of a machine share.

A record is a line of 64-bit words, then the task as msgpack. ``STAMP`` is odd while the slot writes (a seqlock), and a
checksum tells a torn read on machines that reorder stores. ``TURN`` names one task and ``TRY`` one try at a node: a mark
holds the number of what it is for, so that it never meets the next one.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from petiole_stores.records import Outcome, TaskRef
from petiole_workers.processes import process_birth

logger = logging.getLogger("petiole.worker")

#: Bytes of a record. Names are at most 255 characters each, so that every task fits.
RECORD = 16 * 1024
#: What the slots count; a record goes on counting when the next process takes it.
COUNTERS = ("committed", "refused", "failed", "retried", "parked", "spooled")
#: How often a torn read is tried again.
READS = 8

(
    _STAMP, _TURN, _TRY, _PID, _BUSY, _BEGAN, _DEADLINE, _CANCELLED, _CANCELLED_AT, _OVERDUE, _SIZE, _CHECK,
    _DEGRADED,
) = range(13)  # fmt: skip
_COUNTS = 16
_WORDS = 32
_NANO = 1_000_000_000


class Posted(msgspec.Struct, kw_only=True, array_like=True):
    """A task on the board.

    ``claimed``: the ledger knows it as claimed here (with a relaxed durability it may know of an earlier one alone).
    ``on_timeout`` is the outcome to commit if the node has to be ended.
    """

    slot: str
    ref: TaskRef
    claimed: bool
    on_timeout: Outcome | None = None


class Sight(msgspec.Struct, kw_only=True, frozen=True):
    """One slot at work, as the main process saw it. ``began`` and ``deadline`` (0: none) are monotonic seconds."""

    index: int
    turn: int
    trial: int
    pid: int
    began: float
    deadline: float
    cancelled_at: float  #: 0: it is not cancelled
    overdue: bool  #: its node was ended in its absence
    posted: Posted


class TakenOverError(BaseException):
    """The main process has ended the node that returns only now. No ``Exception``: no retry may catch it."""


class Seat:
    """One slot's record, for the process (and thread) that works there."""

    def __init__(self, words: memoryview, payload: memoryview, main: memoryview) -> None:
        self._words, self._payload, self._main = words, payload, main
        self._posted: Posted | None = None
        words[_PID] = os.getpid()
        words[_BUSY] = 0

    def begin(self, posted: Posted) -> None:
        """A task begins."""
        self._write(posted, begins=True)
        self._words[_BUSY] = 1

    def end(self) -> None:
        """Its node has come to its end."""
        self._words[_BUSY] = 0
        self._posted = None

    @property
    def sees_claim(self) -> bool:
        """Whether the main process can tell if the present task is still wanted."""
        return self._posted is not None and self._posted.claimed

    def claimed(self) -> None:
        """The ledger has learned of the present task's claim."""
        assert self._posted is not None
        self._write(msgspec.structs.replace(self._posted, claimed=True))

    @contextmanager
    def limit(self, seconds: float, on_timeout: Outcome) -> Iterator[None]:
        """The block may take so many seconds; the main process may then commit ``on_timeout``.

        Raises TakenOverError at its end if that has happened.
        """
        posted, words = self._posted, self._words
        assert posted is not None
        words[_TRY] += 1
        self._write(msgspec.structs.replace(posted, on_timeout=on_timeout))
        words[_DEADLINE] = time.monotonic_ns() + int(seconds * _NANO)
        try:
            yield
        finally:
            words[_DEADLINE] = 0
            self._write(posted)
            if words[_OVERDUE] == words[_TRY]:
                raise TakenOverError

    def extend(self, seconds: float) -> None:
        """The block of `limit` may take so many seconds from now."""
        if self._words[_DEADLINE]:
            self._words[_DEADLINE] = time.monotonic_ns() + int(seconds * _NANO)

    @property
    def cancelled(self) -> bool:
        """Whether the main process has learned that the present task is no longer wanted here."""
        return bool(self._words[_CANCELLED] == self._words[_TURN])

    @property
    def degraded(self) -> bool:
        """Whether the main process cannot reach the store."""
        return bool(self._main[_DEGRADED])

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of the ``COUNTERS``."""
        self._words[_COUNTS + COUNTERS.index(name)] += number

    def _write(self, posted: Posted, *, begins: bool = False) -> None:
        data = _encoder.encode(posted)
        words = self._words
        words[_STAMP] += 1
        if begins:
            words[_TURN] += 1
            words[_BEGAN] = time.monotonic_ns()
            words[_DEADLINE] = 0
        if len(data) <= len(self._payload):
            self._payload[: len(data)] = data
            words[_SIZE], words[_CHECK] = len(data), zlib.crc32(data)
        else:  # a foreign store's ids without bounds: the slot works unseen
            words[_SIZE] = words[_CHECK] = 0
        words[_STAMP] += 1
        self._posted = posted


class Board:
    """All records of one worker.

    Parameters
        seats   how many slots there may be at once
        forked  the slots are processes that the pool forks: each locks its record, so that a dead one's is free again
    """

    def __init__(self, seats: int, *, forked: bool = False) -> None:
        self.forked = forked
        self._seats = seats
        self._memory = mmap.mmap(
            -1, (seats + 1) * RECORD
        )  # the last one is the main process's own, for its counts
        self._bytes = memoryview(self._memory)
        self._words = self._bytes.cast("Q")
        self._locks: int | None = None
        if forked:
            self._locks, name = tempfile.mkstemp(prefix="petiole-board-")
            os.unlink(name)
            weakref.finalize(self, os.close, self._locks)
        self._taken = 0
        self._lock = threading.Lock()
        self.main = Seat(self._record(seats), self._payload(seats), self._record(seats))

    # ---------------------------------------------------------------- slots

    def take(self) -> Seat:
        """A free record. Where there is none, one that nobody sees."""
        index = self._free()
        if index is None:
            logger.warning(
                "more slots than expected: one works unseen, its timeouts and cancellations are late"
            )
            return Board(1).take()
        return Seat(self._record(index), self._payload(index), self._record(self._seats))

    def _free(self) -> int | None:
        if self._locks is None:
            with self._lock:
                self._taken += 1
                return self._taken - 1 if self._taken <= self._seats else None
        for index in range(self._seats):
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, index)
            except OSError:
                continue
            return index
        return None

    # ---------------------------------------------------------------- the main process

    @property
    def degraded(self) -> bool:
        """Whether the store cannot be reached."""
        return self.main.degraded

    @degraded.setter
    def degraded(self, is_degraded: bool) -> None:
        self._record(self._seats)[_DEGRADED] = is_degraded

    def look(self) -> list[Sight]:
        """The slots that work now."""
        found = (self._sight(index) for index in range(self._seats) if self._record(index)[_BUSY])
        return [sight for sight in found if sight is not None and self._lives(sight.pid)]

    def stands(self, sight: Sight) -> bool:
        """Whether the slot is still at the task that was seen there."""
        words = self._record(sight.index)
        return bool(words[_TURN] == sight.turn and words[_BUSY])

    def cancel(self, sight: Sight) -> None:
        """Mark a task as no longer wanted."""
        words = self._record(sight.index)
        words[_CANCELLED_AT] = time.monotonic_ns()
        words[_CANCELLED] = sight.turn

    def take_over(self, sight: Sight) -> bool:
        """Mark a node as ended by the main process; ``False``: it has come to its end itself.

        Mark first, look then: a node that ends meanwhile either is seen to have ended, or finds the mark.
        """
        words = self._record(sight.index)
        words[_OVERDUE] = sight.trial
        return words[_TRY] == sight.trial and words[_DEADLINE] != 0

    def counts(self) -> Mapping[str, int]:
        """The sums of all counters, of slots too that are gone."""
        totals = dict.fromkeys(COUNTERS, 0)
        for index in range(self._seats + 1):
            words = self._record(index)
            for place, name in enumerate(COUNTERS):
                totals[name] += words[_COUNTS + place]
        return totals

    # ---------------------------------------------------------------- parts

    def _record(self, index: int) -> memoryview:
        start = index * RECORD // 8
        return self._words[start : start + _WORDS]

    def _payload(self, index: int) -> memoryview:
        return self._bytes[index * RECORD + _WORDS * 8 : (index + 1) * RECORD]

    def _sight(self, index: int) -> Sight | None:
        words, payload = self._record(index), self._payload(index)
        for _ in range(READS):
            stamp, turn, size, check = words[_STAMP], words[_TURN], words[_SIZE], words[_CHECK]
            data = bytes(payload[:size])
            began, deadline, pid = words[_BEGAN], words[_DEADLINE], words[_PID]
            if (
                stamp % 2
                or size > len(payload)
                or (words[_STAMP], words[_TURN]) != (stamp, turn)
                or zlib.crc32(data) != check
            ):
                continue
            if not size:
                return None
            cancelled = words[_CANCELLED] == turn
            return Sight(
                index=index, turn=turn, trial=words[_TRY], pid=pid, began=began / _NANO, deadline=deadline / _NANO,
                cancelled_at=words[_CANCELLED_AT] / _NANO if cancelled else 0.0,
                overdue=bool(deadline) and words[_OVERDUE] == words[_TRY], posted=_decoder.decode(data),
            )  # fmt: skip
        return None

    def _lives(self, pid: int) -> bool:
        return not self.forked or process_birth(pid) is not None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Posted)
