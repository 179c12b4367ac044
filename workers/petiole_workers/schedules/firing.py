"""What a sweep does with schedules: submit the runs that are due, then move their schedules on.

The run's ids derive from the schedule and the due time. So it does no harm when several workers fire the same time, or when
one dies before it has moved the schedule on: the ledger takes the run once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from petiole_stores.errors import IdempotencyError, NotFoundError, StoreUnavailableError, ThreadBusyError
from petiole_stores.ids import derived_id
from petiole_stores.records import TaskRef
from petiole_stores.store import Store
from petiole_workers.fitting import Fleet, queue_of
from petiole_workers.schedules.book import get_schedule, read_schedules, replace_schedule
from petiole_workers.schedules.schedule import Firing, Schedule
from petiole_workers.submission import Submission, check_answer
from petiole_workers.takeover import submit_over

logger = logging.getLogger("petiole.sweep")

Publish = Callable[[Sequence[TaskRef]], object]


class Firer:
    """Submits runs of schedules.

    Parameters
        store    where they are kept, and their runs
        fleet    the living workers, whose newest tells a graph's version and queue
        queue    of graphs that name none
        publish  tells the broker of tasks that are ready
    """

    def __init__(self, store: Store, fleet: Fleet, queue: str, publish: Publish) -> None:
        self._store, self._fleet, self._queue, self._publish = store, fleet, queue, publish
        self._told: set[str] = set()  #: schedules of which it was logged that they are damaged

    def fire_due(self, now: float) -> int:
        """Fire every time that is due at ``now``, the store's time; gives how many runs were submitted.

        What a schedule's own fault is, is recorded with it and stops no other. Raises StoreUnavailableError.
        """
        fired = 0
        found, damaged = read_schedules(self._store)
        for name in damaged.keys() - self._told:
            logger.error("schedule %r fires nothing: %s", name, damaged[name])
        self._told = set(damaged)
        for seen in found:
            if seen.due(now):
                try:
                    fired += self._fire(seen.name, now)
                except StoreUnavailableError:
                    raise
                except Exception:
                    logger.exception("schedule %r cannot be fired; it is tried again", seen.name)
        return fired

    def _fire(self, name: str, now: float) -> int:
        try:
            schedule = get_schedule(self._store, name)  # it may have been paused or moved on meanwhile
        except NotFoundError:
            return 0
        firings = [self.fire(schedule, due, now) for due in schedule.due(now)]
        submitted = sum(firing.result == "submitted" for firing in firings)
        moved = msgspec.structs.replace(
            schedule, fired=schedule.fired + submitted, last=firings[-1] if firings else schedule.last
        )
        moved = msgspec.structs.replace(moved, next_at=moved.first_after(now))
        if moved != schedule:
            replace_schedule(self._store, schedule, moved)  # else somebody was first, who has done the same
        return submitted

    def fire(self, schedule: Schedule, due: float, now: float) -> Firing:
        """Submit the run of one due time, once; what is refused is told and not raised. Raises StoreUnavailableError."""
        try:
            thread_id, run_id = self.submit(schedule, due, start=schedule.start_of(due))
        except StoreUnavailableError:
            raise
        except ThreadBusyError as error:
            logger.info("schedule %r: the run due at %s is refused: %s", schedule.name, iso(due), error)
            return Firing(due, now, "refused", error=str(error))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one schedule, the others go on
            logger.warning("schedule %r: the run due at %s failed: %s", schedule.name, iso(due), error)
            return Firing(due, now, "failed", error=f"{type(error).__name__}: {error}")
        return Firing(due, now, "submitted", run_id, thread_id)

    def submit(
        self, schedule: Schedule, due: float, *, start: float | None = None, key: str | None = None
    ) -> tuple[str, str]:
        """Submit a run of a schedule; gives the ids of its thread and itself.

        Parameters
            due    the time that it is for, in its metadata
            start  not before this; nothing: at once
            key    what its ids derive from beside the schedule; nothing: the due time. The same key gives the same run

        Raises as a client's ``submit``, but for a run that is there already from before the schedule was changed.
        """
        store, offer = self._store, self._fleet.offer(schedule.graph)
        run = Submission(
            graph=schedule.graph,
            queue=queue_of(offer, self._queue),
            version=offer.version if offer else None,
            fingerprint=offer.fingerprint if offer else None,
            input=store.serde.load_whole(schedule.input),
            run_id=derived_id("schedule", schedule.id, repr(due) if key is None else key),
            thread_id=schedule.thread_id,
            tags=[*schedule.tags, schedule.tag],
            metadata={**schedule.metadata, "schedule": schedule.name, "due_at": iso(due)},
            at=start,
            deadline=None if schedule.deadline is None else timedelta(seconds=schedule.deadline),
            if_busy=schedule.if_busy,
        ).new_run(store.serde)
        store.hint(run.thread_id, [run.run_id, run.start.task_id])
        if schedule.if_busy in ("interrupt", "rollback"):
            answer = submit_over(store, run, schedule.if_busy)
        else:
            [answer] = store.submit([run])
        try:
            check_answer(store, run, answer)
        except IdempotencyError:
            known = store.get_run(run.run_id)
            return (known.thread_id if known else run.thread_id), run.run_id
        self._publish(answer.publish)
        return run.thread_id, run.run_id


def iso(at: float) -> str:
    """A due time as runs have it in their metadata."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
