"""The fork tree of a thread: its checkpoints over all runs, each below the one that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from petiole.access.seeing import is_thread_seen
from petiole.api.access import Acting, Reader
from petiole.dashboard.rendering import PageRoute, page
from petiole_stores.errors import NotFoundError
from petiole_stores.records import Checkpointed

router = APIRouter(route_class=PageRoute)

#: Checkpoints of one page.
PAGE = 500


class Row(NamedTuple):
    """A checkpoint in the tree. Lanes are counted from the left; ``passing`` go by, ``joining`` fork off here."""

    checkpoint: Checkpointed
    lane: int
    passing: list[int]
    joining: list[int]
    above: bool  #: something came of it
    below: bool  #: it came of something


@router.get("/threads/{thread_id:path}/tree")
def tree(
    request: Request, client: Acting, reader: Reader, thread_id: str, before: int | None = None
) -> Response:
    """The tree, the newest checkpoint first."""
    if not is_thread_seen(client.store, reader, thread_id):
        raise NotFoundError(f"thread {thread_id!r} does not exist: `petiole run list` shows what is there")
    found = client.store.list_checkpoints(thread_id, before=before, limit=PAGE, brief=True)
    head = client.store.head(thread_id)
    rows = rows_of(found)
    return page(
        request,
        "tree.html",
        place="runs",
        thread_id=thread_id,
        rows=rows,
        lanes=1 + max((lane for row in rows for lane in (row.lane, *row.passing, *row.joining)), default=0),
        forks=sum(len(row.joining) for row in rows),
        head=head.checkpoint_id if head else None,
        older=found[-1].seq if len(found) == PAGE else None,
    )


def rows_of(checkpoints: Sequence[Checkpointed]) -> list[Row]:
    """Checkpoints, newest first, each with its lane: a lane leads down from a tip to where it forked off."""
    lanes: list[str | None] = []  #: the checkpoint that each lane leads to
    rows = []
    for one in checkpoints:
        mine = [lane for lane, target in enumerate(lanes) if target == one.checkpoint_id]
        free = next((lane for lane, target in enumerate(lanes) if target is None), len(lanes))
        lane = mine[0] if mine else free
        if lane == len(lanes):
            lanes.append(None)
        passing = [at for at, target in enumerate(lanes) if target is not None and at not in mine]
        rows.append(Row(one, lane, passing, mine[1:], bool(mine), one.parent_id is not None))
        for joined in mine[1:]:
            lanes[joined] = None
        lanes[lane] = one.parent_id
    return rows
