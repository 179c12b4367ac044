"""Ending what should have ended: nodes past their timeout, and nodes that go on though nobody wants their output.

A pool process is killed (see :class:`petiole_workers.celery.children.ChildWatch`). Under threads, gevent and solo nothing can
be: the outcome is committed without the node, what it returns later is refused, and its slot is lost until then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from petiole_stores.crashpoints import reach
from petiole_stores.errors import StoreError
from petiole_workers.board import Board, Sight
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext
from petiole_workers.spool import commit, entry_of

logger = logging.getLogger("petiole.worker")

#: How often the board is looked at, in seconds.
LOOK = 0.1


class Overdue(NamedTuple):
    """A slot whose work should have ended."""

    sight: Sight
    why: Literal["timeout", "cancelled"]


def overdue(board: Board, cancel_grace: float) -> Iterator[Overdue]:
    """The slots whose node is past its timeout, or goes on ``cancel_grace`` seconds after it was cancelled."""
    now = time.monotonic()
    for sight in board.look():
        if sight.deadline and now >= sight.deadline and sight.posted.on_timeout is not None:
            yield Overdue(sight, "timeout")
        elif sight.cancelled_at and now >= sight.cancelled_at + cancel_grace:
            yield Overdue(sight, "cancelled")


def commit_timeout(context: WorkerContext, sight: Sight) -> None:
    """Commit the outcome of a node that its timeout has ended, under its own token. Safe to call again."""
    posted = sight.posted
    assert posted.on_timeout is not None
    reach("timeout.before")
    entry = entry_of(context.holder, posted.slot, [posted.on_timeout], [posted.ref])
    [answer], publish = commit(entry, context.store)
    reach("timeout.after")
    if answer.result == "committed" and context.board is not None:
        context.board.main.count("failed" if posted.on_timeout.ending == "failed" else "retried")
    context.publisher.publish(publish)


def say(sight: Sight, what: str) -> None:
    """Log what became of a slot's task."""
    ref = sight.posted.ref
    logger.error(
        "node %s of thread %s (run %s, task %s) %s", ref.node, ref.thread_id, ref.run_id, ref.task_id, what
    )


class SlotWatch(Periodic):
    """For pools without processes: commits timeouts in the slots' place, and counts the slots that are lost."""

    name = "petiole-slots"

    def __init__(self, context: WorkerContext, board: Board) -> None:
        super().__init__(LOOK)
        self._context, self._board = context, board
        self._uncommitted: list[Sight] = []
        self._said: set[tuple[int, int]] = set()  # slots and turns that are lost
        #: How many slots are lost now.
        self.lost = 0

    def tick(self) -> None:
        found = list(overdue(self._board, self._context.settings.cancel_grace))
        lost = {(it.sight.index, it.sight.turn) for it in found}
        for sight, why in found:
            if why == "timeout" and not sight.overdue and self._board.take_over(sight):
                self._uncommitted.append(sight)
            if (sight.index, sight.turn) not in self._said:
                say(
                    sight,
                    f"{REASONS[why]} and cannot be ended under {self._context.pool}: its slot is lost until it returns",
                )
        self._said, self.lost = lost, len(lost)
        for sight in list(self._uncommitted):
            try:
                commit_timeout(self._context, sight)
            except StoreError as error:
                logger.warning("a timeout cannot be committed yet: %s", error)
                return
            self._uncommitted.remove(sight)


REASONS = {
    "timeout": "is past its timeout",
    "cancelled": "goes on though it was cancelled",
}


def unwanted(sights: Iterable[Sight], claims: set[str]) -> list[Sight]:
    """Those, seen before a beat, whose claim the ledger does not know at the beat."""
    return [
        sight
        for sight in sights
        if sight.posted.claimed and not sight.cancelled_at and sight.posted.ref.task_id not in claims
    ]
