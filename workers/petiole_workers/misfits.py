"""Tasks that this worker cannot run: they stay ready for others. A run that nobody alive can go on with is blocked."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from petiole_stores.errors import StoreError
from petiole_stores.records import RunFilter, TaskRef
from petiole_stores.store import Store
from petiole_workers.fitting import Fleet, Wanted, pending
from petiole_workers.hop import Hint

logger = logging.getLogger("petiole.worker")

#: How long such a task rests before it is published again, in seconds.
DELAY = 2.0
#: How often the log repeats itself about one graph, in seconds.
EVERY = 30.0
#: The type of a blocked run's reason that a registering worker may lift.
UNSERVED = "Unserved"

_said: dict[str, float] = {}


def note_misfits(store: Store, misfits: Sequence[tuple[Hint, str]], fleet: Fleet | None = None) -> None:
    """Leave the tasks to a worker that fits; each comes with the reason why this one does not.

    With a ``fleet``, runs that no living worker can go on with are blocked.
    """
    hints = [hint for hint, _ in misfits]
    for hint in hints:
        store.hint(hint.thread_id, (hint.task_id, hint.run_id))
    try:
        store.postpone([hint.task_id for hint in hints], DELAY)
        if fleet is not None:
            _block(store, hints, fleet)
    except StoreError as error:  # they are published again a little sooner then
        logger.debug("tasks of other workers' graphs could not be postponed: %s", error)
    for reason in {reason for _, reason in misfits}:
        if time.monotonic() - _said.get(reason, float("-inf")) > EVERY:
            _said[reason] = time.monotonic()
            logger.warning(
                "%s by this worker: its tasks are left to others. Start a worker that serves it, or give the graph "
                "queues of its own",
                reason,
            )


def _block(store: Store, hints: Sequence[Hint], fleet: Fleet) -> None:
    for hint in hints:
        wanted = Wanted(hint.graph, hint.version, hint.node)
        if not fleet.serves([wanted]):
            reason = f"no living worker can run {wanted}: start one that serves it"
            [answer] = store.block([hint.run_id], kind=UNSERVED, reason=reason)
            if answer.result == "committed":
                logger.warning("run %s of thread %r is blocked: %s", hint.run_id, hint.thread_id, reason)


def unblock_served(store: Store, fleet: Fleet) -> list[TaskRef]:
    """Let go the runs that were blocked for want of a worker and have one now; gives what to publish."""
    publish: list[TaskRef] = []
    cursor: str | None = None
    while True:
        page = store.list_runs(RunFilter(status=["blocked"], limit=200, cursor=cursor))
        for run in page.runs:
            if msgspec.json.decode(run.reason or "{}").get("type") != UNSERVED:
                continue
            if fleet.serves(pending(run, store.list_tasks(run.run_id))):
                [answer] = store.unblock([run.run_id])
                publish += answer.publish
                logger.info("run %s of thread %r is blocked no longer", run.run_id, run.thread_id)
        cursor = page.next
        if cursor is None:
            return publish
