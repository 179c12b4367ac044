"""Which runs a caller means: the filters of ``list_runs``, ``runs_page`` and ``count_runs`` as one record of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypedDict

from petiole_stores.records import RunFilter
from petiole_workers.times import epoch


class RunQuery(TypedDict, total=False):
    """What runs are narrowed by; all that is given must hold."""

    graph: str | None
    status: str | Sequence[str]
    thread_id: str | None
    tag: str | None
    #: part of the thread's id, the run's, the graph's name or a tag, whatever the case of A to Z
    text: str | None
    #: of a failed run's error: ``ValueError``, ``shop.errors.Declined`` or ``Declined`` alone
    error_type: str | None
    #: submitted at or after (an aware datetime, or seconds since the epoch)
    since: datetime | float | None
    #: submitted before
    until: datetime | float | None
    #: of these graphs alone, beside ``graph``; empty: of any
    graphs: Sequence[str]
    #: the same of threads' namespaces: what an id has before its first ``:``
    namespaces: Sequence[str]
    #: leave ``input`` out, so that many runs with large ones are cheap to read
    brief: bool


def run_filter(
    *,
    graph: str | None = None,
    status: str | Sequence[str] = (),
    thread_id: str | None = None,
    tag: str | None = None,
    text: str | None = None,
    error_type: str | None = None,
    since: datetime | float | None = None,
    until: datetime | float | None = None,
    graphs: Sequence[str] = (),
    namespaces: Sequence[str] = (),
    brief: bool = False,
    limit: int = 50,
    cursor: str | None = None,
) -> RunFilter:
    """The store's filter for a query. Raises InputError for a time without a time zone."""
    return RunFilter(
        graph=graph,
        status=[status] if isinstance(status, str) else list(status),
        thread_id=thread_id,
        tag=tag,
        text=text or None,
        error_type=error_type,
        since=epoch(since),
        until=epoch(until),
        graphs=list(graphs),
        namespaces=list(namespaces),
        brief=brief,
        limit=limit,
        cursor=cursor,
    )
