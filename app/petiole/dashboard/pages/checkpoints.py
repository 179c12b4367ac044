"""The checkpoints of a run: what each step changed, the state there, and a fork from there."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from petiole.client.comparing import Difference, differences
from petiole.client.replaying import next_nodes
from petiole.dashboard.pages.run import View
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.run_view import RunView
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import NotFoundError
from petiole_stores.records import Checkpointed

router = APIRouter(route_class=PageRoute)

#: Checkpoints of one page, and how many are looked through for one page of a run's own.
PAGE, LOOKED_AT = 50, 1000
#: Differences that are shown.
SHOWN = 200


class Point(NamedTuple):
    """A checkpoint in the list, and the nodes that come next."""

    record: Checkpointed
    next: list[str]


@router.get("/runs/{run_id}/checkpoints")
def checkpoints(request: Request, view: View, before: int | None = None) -> Response:
    """The run's checkpoints, newest first."""
    points, older = _points(view, before)
    return page(
        request,
        "checkpoints.html",
        place="runs",
        tab="checkpoints",
        view=view,
        run=view.run,
        points=points,
        older=older,
        before=before,
    )


@router.get("/runs/{run_id}/checkpoints/{checkpoint_id}")
def checkpoint(request: Request, view: View, checkpoint_id: str) -> Response:
    """One checkpoint: what is different from its parent, and its state, which may be edited into a fork."""
    return page(request, "checkpoint.html", **checkpoint_context(view, checkpoint_id))


def checkpoint_context(view: RunView, checkpoint_id: str) -> dict[str, Any]:
    """What the page of a checkpoint shows. Raises NotFoundError."""
    record = view.client.store.get_checkpoint(checkpoint_id)
    if record is None or record.thread_id != view.run.thread_id:
        raise NotFoundError(
            f"checkpoint {checkpoint_id!r} is not one of thread {view.run.thread_id!r}, or was trimmed "
            f"(max_checkpoints): {view.commands.history()} lists those that are kept"
        )
    point = view.client.load_checkpoint(checkpoint_id)
    changes, parent = _changes(view, point)
    return {
        "place": "runs",
        "tab": "checkpoints",
        "view": view,
        "run": view.run,
        "point": point,
        "record": record,
        "next": next_nodes(record),
        "parent": parent,
        "changes": changes[:SHOWN],
        "more": max(len(changes) - SHOWN, 0),
    }


def _points(view: RunView, before: int | None) -> tuple[list[Point], int | None]:
    """The run's checkpoints older than ``before``, and where the next page begins."""
    found: list[Point] = []
    looked_at = 0
    while len(found) < PAGE and looked_at < LOOKED_AT:
        records = view.client.store.list_checkpoints(
            view.run.thread_id, ns=None, before=before, limit=PAGE, brief=True
        )
        for record in records:
            before = record.seq
            if record.run_id == view.run.run_id:
                found.append(Point(record, next_nodes(record)))
                if len(found) == PAGE:
                    return found, before
        looked_at += len(records)
        if len(records) < PAGE:
            return found, None
    return found, before


def _changes(view: RunView, point: Checkpoint) -> tuple[list[Difference], str | None]:
    """What is not as in the parent; of one without a parent, or whose parent was trimmed, all is new."""
    parent = point.parent_id
    if parent is None or view.client.store.get_checkpoint(parent) is None:
        return differences({}, point.state), None
    return differences(view.client.load_checkpoint(parent).state, point.state), parent
