"""What the nodes of a run said (custom events, messages), and how their tries ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from petiole.client.naming import graphs_of, label_of
from petiole.client.plain import plain
from petiole.client.tries import failure_of_end, number_of, tries_of
from petiole.dashboard.pages.run import View
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.run_view import RunView
from petiole_stores.errors import PetioleError
from petiole_stores.events import MAX_LIMIT, Event
from petiole_stores.records import TaskFilter
from petiole_workers.failure import Failure
from petiole_workers.logs import KIND
from petiole_workers.streaming.speaking import unpack_event

router = APIRouter(route_class=PageRoute)

#: Tasks whose tries are shown.
TASKS = 500


class Entry(NamedTuple):
    """One line of the log."""

    at: float
    kind: str  #: ``custom``, ``messages``, or how a try ended: ``failed retry lost crashed released parked done``
    node: str
    attempt: int
    value: Any = None
    failure: Failure | None = None


@router.get("/runs/{run_id}/events")
def events(request: Request, view: View, kind: str = "", after: int = 0) -> Response:
    """Everything that was said and every try, in the order of time."""
    said, following = _said(view, after)
    entries = [*said, *(_tries(view) if after == 0 else ())]
    if kind:
        entries = [one for one in entries if one.kind == kind]
    return page(
        request,
        "events.html",
        place="runs",
        tab="events",
        view=view,
        run=view.run,
        entries=sorted(entries, key=lambda one: one.at),
        kind=kind,
        after=after,
        following=following,
    )


def _said(view: RunView, after: int) -> tuple[list[Entry], int | None]:
    """What the run's nodes said, and the number to go on after; ``None``: that was all."""
    store = view.client.store
    read = store.read_events(view.run.thread_id, after, limit=MAX_LIMIT)
    mine = [event for event in read if event.run_id == view.run.run_id and event.kind != KIND]
    found = [_entry(view, event) for event in mine]
    return found, read[-1].seq if len(read) == MAX_LIMIT else None


def _entry(view: RunView, event: Event) -> Entry:
    try:
        by, value, about = view.client.typed(lambda: unpack_event(view.client.store.serde, event.value))
    except PetioleError as error:
        return Entry(event.created_at, event.kind, "?", 0, f"cannot be read here: {error}")
    above = graphs_of(by.ns)
    label = f"{above}/{by.node}" if above else by.node
    shown = {"message": plain(value), "about": about} if about else plain(value)
    return Entry(event.created_at, event.kind, label, by.attempt, shown)


def _tries(view: RunView) -> Iterator[Entry]:
    page = view.client.store.tasks_page(view.run.run_id, TaskFilter(kind="node", limit=TASKS, brief=True))
    for task in page.tasks:
        label = label_of(task)
        for one in tries_of(task):
            at = one.ended or one.began or task.ended_at or task.created_at
            yield Entry(at, one.outcome, label, one.number, failure=one.failure)
        if task.ended_at is not None:
            yield Entry(task.ended_at, task.status, label, number_of(task), failure=failure_of_end(task))
