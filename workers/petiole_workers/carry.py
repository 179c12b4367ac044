"""What a slot has run and not yet committed, where a run's durability lets it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from petiole_stores.errors import PetioleError
from petiole_stores.records import Claim, Task
from petiole_workers.durability import MOST, Durability, Measured
from petiole_workers.hop import Work

logger = logging.getLogger("petiole.runner")

#: How often a slot that carries asks whether its run is to go on, in seconds.
LOOK = 1.0
#: How many nodes may wait for the background's commit.
BOUND = 64

Commit = Callable[[Sequence[Work]], list[Claim]]


class Carry:
    """The works of one run that a slot has made and not committed, in the order of their supersteps.

    Parameters
        commit     commits works together and gives the claims that the slot then holds
        may_go_on  asks the ledger whether a run is still to go on
        measured   what this process knows of commits and crashes
    """

    def __init__(self, commit: Commit, may_go_on: Callable[[str], bool], measured: Measured) -> None:
        self._commit, self._may_go_on, self._measured = commit, may_go_on, measured
        self._works: list[Work] = []
        self._since = self._looked = 0.0
        self._saver: Saver | None = None

    def anchor(self, task: Task) -> Task:
        """The task that the ledger knows as claimed while ``task`` is run: the first one that is not committed."""
        if self._works:
            return self._works[0].claim.task
        saving = self._saver.oldest if self._saver is not None else None
        return saving.claim.task if saving is not None else task

    def add(self, work: Work, durability: Durability) -> Claim | None:
        """Carry one more; gives the claim to go on with, or ``None`` where the run is not to go on here."""
        now = time.monotonic()
        if durability.mode == "async":
            return self._save(work)
        if not self._works:
            self._since = self._looked = now
        self._works.append(work)
        if self._is_due(durability, now) or (now - self._looked > LOOK and not self._look(work, now)):
            # Only the newest has a follower that was not run yet.
            return next(iter(self._commit(self.take())), None)
        follow, work.follow = work.follow, None
        return follow

    def take(self) -> list[Work]:
        """What is to be committed before anything else of this slot; nothing is carried after it."""
        if self._saver is not None:
            self._saver.drain()
        works, self._works = self._works, []
        return works

    def close(self) -> None:
        if self._saver is not None:
            self._saver.close()
            self._saver = None

    def abandon(self) -> None:
        """Forget what is carried, uncommitted."""
        self._works = []
        if self._saver is not None:
            self._saver.abandon()
            self._saver = None

    def _is_due(self, durability: Durability, now: float) -> bool:
        if len(self._works) >= MOST:
            return True
        if durability.mode == "exit":
            return False
        limit = self._measured.interval() if durability.mode == "adaptive" else durability.interval
        return now - self._since >= limit

    def _look(self, work: Work, now: float) -> bool:
        self._looked = now
        return self._may_go_on(work.claim.run.run_id)

    def _save(self, work: Work) -> Claim | None:
        if self._saver is None:
            self._saver = Saver(self._commit)
        follow, work.follow = work.follow, None
        return follow if self._saver.put(work) else None


class Saver:
    """Commits works in a thread of its own, in order, as many at once as wait.

    After one that was refused (its claim had moved on, or its run is held back) nothing more of that chain is taken.
    """

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._queue: queue.Queue[Work | None] = queue.Queue(BOUND)
        self._waiting: list[Work] = []
        self._lock = threading.Lock()
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="petiole-saver", daemon=True)
        self._thread.start()

    @property
    def oldest(self) -> Work | None:
        """The first work that is not committed yet."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def put(self, work: Work) -> bool:
        """Take one more, waiting while too many wait; ``False``: its chain is broken, it is dropped."""
        if self._broken:
            return False
        with self._lock:
            self._waiting.append(work)
        self._queue.put(work)
        return not self._broken

    def drain(self) -> None:
        """Wait until everything is committed. The next chain begins whole."""
        self._queue.join()
        self._broken = False

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def abandon(self) -> None:
        """Commit nothing further."""
        self._broken = True
        self.close()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            batch = [work]
            while len(batch) < BOUND:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._queue.put(None)
                    self._queue.task_done()
                    break
                batch.append(more)
            try:
                if not self._broken:
                    self._commit(batch)
                    self._broken = any(made.refused for made in batch)
            except PetioleError as error:
                self._broken = True
                logger.warning("%d outcomes could not be saved in the background: %s", len(batch), error)
            finally:
                with self._lock:
                    del self._waiting[: len(batch)]
                for _ in batch:
                    self._queue.task_done()
        self._queue.task_done()
