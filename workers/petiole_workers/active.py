"""Runs as they are listed, and which of a thread's is the active one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec

from petiole_stores.records import SETTLED, Run, RunFilter, RunStatus
from petiole_stores.store import Store

#: A run in one of these is active, or queued behind the active one.
OPEN: list[str] = [status for status in get_args(RunStatus) if status not in SETTLED]

#: Runs, or checkpoints, that are read at once.
PAGE = 100


def runs_of(store: Store, filter: RunFilter) -> Iterator[Run]:
    """Every run that matches, newest first, page by page."""
    while True:
        page = store.list_runs(filter)
        yield from page.runs
        if page.next is None:
            return
        filter = msgspec.structs.replace(filter, cursor=page.next)


def open_runs(store: Store, thread_id: str) -> list[Run]:
    """The thread's runs that have not ended, the active one first, then in the order in which they will start."""
    found = sorted(
        runs_of(store, RunFilter(thread_id=thread_id, status=OPEN, limit=PAGE)), key=lambda run: run.seq
    )
    # Queued runs alone: the oldest is the active one, for whoever ended before it has started the oldest.
    return sorted(found, key=lambda run: run.status == "queued")


def active_run(store: Store, thread_id: str) -> Run | None:
    """The thread's active run, or ``None``."""
    return next(iter(open_runs(store, thread_id)), None)
