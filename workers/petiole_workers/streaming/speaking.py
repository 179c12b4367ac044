"""What running nodes say, on its way to the store: in batches, beside the node, and never in its way.

Events are written every 50 ms, or 64 at a time. A node's are written before its outcome is, unless the store is slow: then
the outcome does not wait for them. What the store cannot take is dropped, once it was tried again; the log says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from petiole_stores.decoding import converter
from petiole_stores.errors import PetioleError
from petiole_stores.events import MAX_EVENT, NewEvent
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.greenlets import greenlets_here, native_thread, original
from petiole_workers.streaming.messages import from_stored, to_stored

if TYPE_CHECKING:
    from petiole_workers.attempt import Attempt

logger = logging.getLogger("petiole.stream")

#: How long an event waits for others, in seconds, and how many are written at once.
TOGETHER, BATCH = 0.05, 64
#: Bytes that may wait; what is said beyond is dropped.
MOST = 32 * 1024 * 1024
#: How long an outcome waits for its node's events, in seconds.
DRAIN = 1.0
#: How often and after how many seconds a write is tried again.
TRIES, PAUSE = 3, 0.2
#: How long closing waits for a write under way, in seconds: the bound on a call of the store, and a little.
CLOSE = 20.0


class Spoken(msgspec.Struct, array_like=True, frozen=True):
    """Who said something; what an event begins with. ``attempt`` is 1 for a node's first try."""

    task_id: str
    node: str
    ns: str
    path: str
    step: int
    attempt: int
    thread_id: str = ""


def metadata_of(by: Spoken) -> dict[str, Any]:
    """The metadata of a message in LangGraph's words."""
    segment = f"{by.node}:{by.task_id}"
    return {
        "thread_id": by.thread_id,
        "langgraph_step": by.step,
        "langgraph_node": by.node,
        "langgraph_path": tuple(by.path.split(":", 1)),
        "langgraph_checkpoint_ns": f"{by.ns}|{segment}" if by.ns else segment,
    }


def pack_event(serde: Serde, by: Spoken, value: Any, about: Mapping[str, object] | None) -> bytes:
    """An event's value in bytes; ``about``: it is a message, and this its metadata. Raises SerializationError."""
    if about is None:
        return serde.pack([msgspec.to_builtins(by), value])
    plain = msgspec.to_builtins(dict(about), str_keys=True, enc_hook=repr)
    return serde.pack([msgspec.to_builtins(by), to_stored(value), plain])


def unpack_event(serde: Serde, data: bytes) -> tuple[Spoken, Any, dict[str, object]]:
    """Who said an event, what, and a message's metadata. Raises UnfitError where a class is lacking."""
    by, value, *about = serde.unpack(data)
    return _spoken(by), from_stored(value) if about else value, about[0] if about else {}


class _Waiting(NamedTuple):
    thread_id: str
    run_id: str
    event: NewEvent


class Speaker:
    """Writes events from a thread of its own, which it has only while there is something to write.

    Under gevent that is a greenlet, like whoever waits for it. Async nodes run in native threads there, where locks of
    greenlets are of no use: what they say is put down for a greenlet to take.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._writing = False
        self._drains = 0  #: how many wait until all is written
        self._thread: threading.Thread | None = None
        self._size = self._dropped = 0
        self._closed = False
        self._home, self._at_home = native_thread(), greenlets_here()
        self._arriving: deque[_Waiting] = deque()
        self._arriving_size = 0
        self._arriving_lock = (original("_thread", "allocate_lock") or threading.Lock)()

    def say(self, kind: str, value: Any, attempt: Attempt, about: Mapping[str, object] | None = None) -> None:
        """Take an event; its value is packed here and now, for the node may go on changing it."""
        task, by = attempt.task, attempt.spoken
        try:
            packed = pack_event(self._store.serde, by, value, about)
        except Exception as error:  # noqa: BLE001 - what it is made of is the user's
            logger.warning("what node %s of thread %s said is dropped: %s", by.node, task.thread_id, error)
            return
        if len(packed) > MAX_EVENT:
            logger.warning(
                "what node %s of thread %s said is dropped: it has %d bytes, an event has at most %d",
                by.node, task.thread_id, len(packed), MAX_EVENT,
            )  # fmt: skip
            return
        waiting = _Waiting(task.thread_id, task.run_id, NewEvent(attempt.utterance(), kind, packed))
        if self._at_home is not None and native_thread() != self._home:
            self._put_down(waiting, self._at_home)
        else:
            self._take(waiting)

    def _put_down(self, waiting: _Waiting, at_home: Callable[[Callable[[], None]], None]) -> None:
        size = len(waiting.event.value)
        with self._arriving_lock:
            fits = not self._closed and self._arriving_size + size <= MOST
            if fits:
                self._arriving.append(waiting)
                self._arriving_size += size
        if fits:
            at_home(self._take_arrived)
        else:
            self._drop(1, self._why)

    def _take_arrived(self) -> None:
        if not self._arriving:
            return
        with self._changed:
            with self._arriving_lock:
                arrived = [*self._arriving]
                self._arriving.clear()
                self._arriving_size = 0
            for waiting in arrived:
                self._take(waiting)

    def _take(self, waiting: _Waiting) -> None:
        size = len(waiting.event.value)
        with self._changed:
            if self._closed or self._size + size > MOST:
                self._drop(1, self._why)
                return
            self._waiting.append(waiting)
            self._size += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="petiole-speaker", daemon=True)
                self._thread.start()
            elif len(self._waiting) >= BATCH:
                self._changed.notify_all()

    def drain(self, timeout: float = DRAIN) -> None:
        """Wait until what was said is written, at most so many seconds."""
        self._take_arrived()
        if not self._waiting and not self._writing:
            return
        with self._changed:
            self._drains += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout)
            self._drains -= 1

    def close(self) -> None:
        """Write what was said, once, and touch the store no more: its owner may close it next."""
        self._end(keep=True)

    def abandon(self) -> None:
        """Drop what was said and touch the store no more: the process is taken for dead."""
        self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        self._take_arrived()
        with self._changed:
            self._closed = True
            if not keep:
                self._waiting.clear()
                self._size = 0
            self._drains += 1  # nobody waits for company any more
            thread = self._thread
            self._changed.notify_all()
        if thread is None or thread is threading.current_thread():
            return
        thread.join(CLOSE)
        if thread.is_alive():
            logger.warning(
                "events of nodes are still being written after %.0f s: the store does not answer", CLOSE
            )

    # ---------------------------------------------------------------- the thread

    def _write_all(self) -> None:
        try:
            while batch := self._next_batch():
                for (thread_id, run_id), group in groupby(batch, key=lambda it: it[:2]):
                    self._write(thread_id, run_id, [it.event for it in group])
        finally:
            with self._changed:
                if self._thread is threading.current_thread():
                    self._thread, self._writing = None, False
                self._changed.notify_all()

    def _next_batch(self) -> list[_Waiting]:
        """What is to be written now, when it has waited for others; empty: there is nothing more."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._drains or len(self._waiting) >= BATCH, TOGETHER)
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._size -= sum(len(it.event.value) for it in batch)
            self._writing = bool(batch)
            if not batch:
                self._thread = None  # under the lock: what is said from now on has a thread of its own
            return batch

    def _write(self, thread_id: str, run_id: str, events: list[NewEvent]) -> None:
        for tried in range(1, TRIES + 1):
            try:
                self._store.append_events(thread_id, run_id, events)
                return
            except PetioleError as error:
                if tried == TRIES or self._closed:
                    self._drop(len(events), str(error))
                    return
                time.sleep(PAUSE * tried)
            except Exception:
                logger.exception("events of thread %s cannot be written", thread_id)
                return

    @property
    def _why(self) -> str:
        return "their worker has ended" if self._closed else "too much waits for the store"

    def _drop(self, number: int, why: str) -> None:
        """Count what is lost; the log hears of it once in a while, not each time."""
        before, self._dropped = self._dropped, self._dropped + number
        if before == 0 or before // 1000 != self._dropped // 1000:
            logger.warning("%d events of nodes were dropped so far: %s", self._dropped, why)


_spoken = converter(Spoken)
