"""The contract of events: what running nodes say, kept beside the ledger for whoever follows their thread.

The ledger itself tells of checkpoints and tasks; events are the rest (``custom`` and ``messages`` of a stream), which
would be gone with the process that said them. They are a side record: nothing of the protocol depends on them.

Rules that every backend keeps
    order     ``seq`` is counted per thread, without gaps, in the order of commits: who has read up to one and reads on
              from there misses nothing, however writers race. A thread that holds no event begins with its store's time in
              milliseconds, so that numbers rise even where older ones were purged.
    once      The same ``event_id`` on the same thread twice is one event, the first.
    deletion  Events go with their thread; for a thread that does not exist nothing is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from petiole_stores.checks import check_id
from petiole_stores.crashpoints import reach
from petiole_stores.errors import InputError

if TYPE_CHECKING:
    from petiole_stores.serde import Serde

MAX_EVENT = 1024 * 1024  #: bytes of a packed value
MAX_LIMIT = 1000  #: events that one call gives, or removes of one thread


class NewEvent(msgspec.Struct, frozen=True):
    """An event to be written. ``value`` is packed (:meth:`petiole_stores.serde.Serde.pack`)."""

    event_id: str
    kind: str
    value: bytes


class Event(msgspec.Struct, frozen=True):
    """A stored event; ``created_at`` by the store's clock."""

    seq: int
    run_id: str
    event_id: str
    kind: str
    value: bytes
    created_at: float


class EventWrite(msgspec.Struct, frozen=True):
    """A new event as a backend gets it: its value through the codec."""

    event_id: str
    kind: str
    codec: str
    data: bytes


class StoredEvent(msgspec.Struct, frozen=True):
    """An event as a backend gives it."""

    seq: int
    run_id: str
    event_id: str
    kind: str
    codec: str
    data: bytes
    created_at: float


class EventStore(ABC):
    """Events of one store; see the module for the rules."""

    serde: Serde
    #: As :attr:`petiole_stores.ledger.Ledger.clock`.
    clock: Callable[[], float] | None = None

    def append_events(self, thread_id: str, run_id: str, events: Sequence[NewEvent]) -> None:
        """Write events of one run, in this order and all at once.

        Raises InputError for an id or kind that cannot be taken, or a value of more than 1 MiB.
        """
        check_id("thread_id", thread_id)
        check_id("run_id", run_id)
        writes = [self._event_write(thread_id, event) for event in events]
        reach("append_events.before")
        if writes:
            self._append_events(thread_id, run_id, writes, self._now())
        reach("append_events.after")

    def read_events(self, thread_id: str, after: int = 0, *, limit: int = 100) -> list[Event]:
        """The thread's events with a ``seq`` above ``after``, in order, at most ``limit`` (1 to 1000).

        Raises CorruptionError for one whose bytes are not what was stored, UnfitError where this process lacks the key.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InputError(
                f"limit is {limit}: take a number from 1 to {MAX_LIMIT} and go on from the last seq"
            )
        found = self._read_events(thread_id, after, limit)
        return [
            Event(
                it.seq,
                it.run_id,
                it.event_id,
                it.kind,
                self.serde.decode(it.codec, it.data, bound=_bound(thread_id, it.event_id)),
                it.created_at,
            )
            for it in found
        ]

    def newest_event(self, thread_id: str) -> int:
        """The ``seq`` of the thread's newest event; 0 where it holds none."""
        return self._newest_event(thread_id)

    def purge_events(self, age: float, *, limit: int = 1000) -> int:
        """Remove up to ``limit`` events that are older than ``age`` seconds by the store's clock; how many it were."""
        if age < 0 or limit < 1:
            raise InputError(f"age is {age!r} s and limit {limit}: take an age from 0 and at least 1 event")
        reach("purge_events.before")
        answer = self._purge_events(age, limit, self._now())
        reach("purge_events.after")
        return answer

    # ---------------------------------------------------------------- within

    def _event_write(self, thread_id: str, event: NewEvent) -> EventWrite:
        check_id("event_id", event.event_id)
        check_id("kind", event.kind)
        if len(event.value) > MAX_EVENT:
            raise InputError(
                f"event {event.event_id} has {len(event.value)} bytes: an event has at most {MAX_EVENT}, say less"
            )
        codec, data = self.serde.encode(event.value, bound=_bound(thread_id, event.event_id))
        return EventWrite(event.event_id, event.kind, codec, data)

    @abstractmethod
    def _now(self) -> float | None: ...

    # ---------------------------------------------------------------- primitives of a backend

    @abstractmethod
    def _append_events(
        self, thread_id: str, run_id: str, events: Sequence[EventWrite], now: float | None
    ) -> None: ...

    @abstractmethod
    def _read_events(self, thread_id: str, after: int, limit: int) -> list[StoredEvent]: ...

    @abstractmethod
    def _newest_event(self, thread_id: str) -> int: ...

    @abstractmethod
    def _purge_events(self, age: float, limit: int, now: float | None) -> int: ...


def first_seq(now: float) -> int:
    """The ``seq`` of the first event that a thread holds."""
    return int(now * 1000)


def _bound(thread_id: str, event_id: str) -> bytes:
    """What an event's bytes are bound to, so that they cannot be swapped."""
    return f"event\n{len(thread_id)}:{thread_id}\n{event_id}".encode()
