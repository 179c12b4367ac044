"""Actions on many runs, done behind the answer to a form; how far each has come is kept while the server runs."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from petiole.client.bulk import Treated
from petiole_stores.errors import PetioleError
from petiole_stores.ids import new_id

logger = logging.getLogger("petiole.dashboard")

#: Jobs that are remembered, and refusals that are kept of one.
KEPT, REFUSALS = 100, 50

Action = Literal["replay", "cancel"]


class Job(msgspec.Struct, kw_only=True):
    """One action on many runs. ``trouble``: why it stopped before its end."""

    job_id: str
    owner: str
    action: Action
    total: int
    done: int = 0
    already: int = 0
    refused: int = 0
    refusals: list[Treated] = []
    over: bool = False
    trouble: str = ""

    @property
    def treated(self) -> int:
        return self.done + self.already + self.refused

    def take(self, treated: Treated) -> None:
        """Count one run."""
        setattr(self, treated.result, getattr(self, treated.result) + 1)
        if treated.result == "refused" and len(self.refusals) < REFUSALS:
            self.refusals.append(treated)


class Jobs:
    """The jobs of one server. May be used by several threads."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, owner: str, action: Action, total: int, act: Callable[[], Iterable[Treated]]) -> Job:
        """Begin to take runs out of ``act()`` in a thread of its own."""
        job = Job(job_id=new_id(), owner=owner, action=action, total=total)
        with self._lock:
            self._jobs[job.job_id] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
        threading.Thread(target=self._work, args=(job, act), name=f"bulk-{job.job_id}", daemon=True).start()
        return job

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            return self._jobs.get(job_id)

    @staticmethod
    def _work(job: Job, act: Callable[[], Iterable[Treated]]) -> None:
        try:
            for treated in act():
                job.take(treated)
        except PetioleError as error:
            logger.warning(
                "bulk %s by %s stopped after %d runs: %s", job.action, job.owner, job.treated, error
            )
            job.trouble = str(error)
        finally:
            job.over = True
