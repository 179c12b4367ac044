"""What nodes have logged, read back from the events of their thread."""

from __future__ import annotations

import msgspec

from petiole.client.naming import graphs_of
from petiole_stores.decoding import converter
from petiole_stores.errors import InputError, PetioleError
from petiole_stores.events import Event
from petiole_stores.records import Run
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.logs import KIND, LEVELS, Logged, severity_of
from petiole_workers.streaming.speaking import Spoken, unpack_event

#: Records that one page has at most, events that are read at once, and those that are looked at for one page.
MAX_LIMIT, READ, LOOKED_AT = 1000, 200, 5000


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One record that a node has logged.

    id: its place among the run's; it rises.
    at: when it was logged, by the worker's clock.
    level, severity: as logging has them: ``"WARNING"``, 30.
    attempt: 1 for the node's first try.
    exception: the traceback, or the stack that was asked for.
    cut: it was longer than what is kept, or more than an attempt may have.
    """

    id: str
    run_id: str
    thread_id: str
    task_id: str
    node: str
    ns: str
    attempt: int
    at: float
    level: str
    severity: int
    logger: str
    message: str
    exception: str | None = None
    cut: bool = False

    @property
    def label(self) -> str:
        """The node after those whose graphs it is in: ``research/write``."""
        above = graphs_of(self.ns)
        return f"{above}/{self.node}" if above else self.node


class LogPage(msgspec.Struct, kw_only=True):
    """Some records in the order in which they were kept.

    next: the ``cursor`` of the page after this; ``None``: there is nothing more by now. A page may have few records, or none,
        and have a next one.
    after: the ``cursor`` to ask with later for what is logged from now on.
    """

    logs: list[LogEntry]
    next: str | None
    after: str


def logs_page_of(
    store: Store,
    run: Run,
    *,
    task_id: str | None = None,
    node: str | None = None,
    level: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> LogPage:
    """One page of a run's records. Raises InputError for a level, limit or cursor that cannot be."""
    least = _severity(level)
    if not 1 <= limit <= MAX_LIMIT:
        raise InputError(f"limit is {limit}: take a number from 1 to {MAX_LIMIT} and page with the cursor")
    seq, looked_at = _seq(cursor), 0
    found: list[LogEntry] = []
    while True:
        events = store.read_events(run.thread_id, seq, limit=READ)
        for event in events:
            if len(found) == limit:
                return LogPage(logs=found, next=str(seq), after=str(seq))
            seq = event.seq
            entry = _entry(store.serde, run, event)
            if entry is not None and entry.severity >= least and _is_of(entry, task_id, node):
                found.append(entry)
        if len(events) < READ:
            return LogPage(logs=found, next=None, after=str(seq))
        looked_at += len(events)
        if looked_at >= LOOKED_AT:
            return LogPage(logs=found, next=str(seq), after=str(seq))


def entry_of(event: Event, thread_id: str, by: Spoken, value: object) -> LogEntry:
    """The record that an event of kind ``log`` keeps."""
    logged = _logged(value)
    return LogEntry(
        id=str(event.seq),
        run_id=event.run_id,
        thread_id=thread_id,
        task_id=by.task_id,
        node=by.node,
        ns=by.ns,
        attempt=by.attempt,
        **msgspec.structs.asdict(logged),
    )


def _entry(serde: Serde, run: Run, event: Event) -> LogEntry | None:
    if event.kind != KIND or event.run_id != run.run_id:
        return None
    try:
        by, value, _ = unpack_event(serde, event.value)
        return entry_of(event, run.thread_id, by, value)
    except (PetioleError, msgspec.ValidationError, ValueError, TypeError):
        return None  # of a later version, or somebody else's


def _is_of(entry: LogEntry, task_id: str | None, node: str | None) -> bool:
    return (task_id is None or entry.task_id == task_id) and (
        node is None or node in (entry.node, entry.label)
    )


def _severity(level: str | None) -> int:
    if level is None:
        return 0
    found = severity_of(level)
    if found is None:
        raise InputError(f"level is {level[:40]!r}: take {', '.join(LEVELS)}")
    return found


def _seq(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 16):
        raise InputError(f"cursor is {cursor[:40]!r}: take the `next` or `after` of the page before as it is")
    return int(cursor)


_logged = converter(Logged)
