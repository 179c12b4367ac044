"""The bulk jobs that one server does: those that were asked of it, and those that no other server does."""

from __future__ import annotations

import logging
import threading
import time

from petiole.audit.client import AuditedClient
from petiole.bulk.job import Job, Status
from petiole.bulk.kept import LEASE, KeptJobs
from petiole.bulk.treating import treat_batch
from petiole.client import Client
from petiole_stores.errors import PetioleError, StoreUnavailableError
from petiole_stores.ids import new_id

#: Jobs that one server does at once.
WORKERS = 2
#: Seconds between two looks for jobs that nobody does, and two renewals of leases.
LOOK = LEASE / 5

logger = logging.getLogger("petiole.bulk")


class Jobs:
    """Does bulk jobs in threads of its own. What it has not done when it is closed, or dies, another server goes on with."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._holder = new_id()
        self._lock = threading.Lock()
        self._doing: dict[str, threading.Thread] = {}
        self._unreadable: set[str] = set()
        self._wake = threading.Event()
        self.is_closing = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way here."""
        return bool(self._doing)

    @property
    def kept(self) -> KeptJobs:
        return KeptJobs(self._client.store)

    def start(self) -> None:
        """Begin to look for jobs. A second call does nothing."""
        with self._lock:
            if self._keeper is None and not self.is_closing.is_set():
                self._keeper = threading.Thread(target=self._look, name="bulk-keeper", daemon=True)
                self._keeper.start()

    def close(self, timeout: float) -> None:
        """End after the batches that are under way, or after so many seconds; their jobs are free for others then."""
        self.is_closing.set()
        self._wake.set()
        until = time.monotonic() + timeout
        with self._lock:
            threads = [*self._doing.values(), *filter(None, [self._keeper])]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """Look for jobs now: one has been asked for."""
        self.start()
        self._wake.set()

    # ---------------------------------------------------------------- the keeper's thread

    def _look(self) -> None:
        while not self.is_closing.is_set():
            try:
                self._renew()
                self._take_up()
            except Exception:  # it must not end: nobody else would take up jobs here
                logger.warning("bulk jobs could not be looked for; trying again", exc_info=True)
            self._wake.wait(LOOK)
            self._wake.clear()

    def _renew(self) -> None:
        """Keep the jobs under way for oneself, however long a batch takes; their threads see for themselves if one is lost."""
        with self._lock:
            ids = [*self._doing]
        for id in ids:
            self.kept.renew(id, self._holder)

    def _take_up(self) -> None:
        """Fill the free places with jobs that nobody does."""
        for id in self.kept.open_ids():
            if len(self._doing) >= WORKERS or self.is_closing.is_set():
                return
            if id in self._doing or id in self._unreadable:
                continue
            if (job := self._claimed(id)) is not None:
                self._begin(job)

    def _begin(self, job: Job) -> None:
        """Do a claimed job in a thread of its own. Whoever closes this meanwhile finds the thread at work, or none."""
        thread = threading.Thread(target=self._do, args=(job,), name=f"bulk-{job.id}", daemon=True)
        with self._lock:
            if not self.is_closing.is_set():
                thread.start()
                self._doing[job.id] = thread
                return
        self.kept.release(job.id)

    def _claimed(self, id: str) -> Job | None:
        try:
            return self.kept.claim(id, self._holder)
        except StoreUnavailableError:
            raise
        except (
            PetioleError
        ) as error:  # it lacks the key that the record is sealed with, say: another one may have it
            logger.warning("bulk job %s cannot be read here, and is left to others: %s", id, error)
            self._unreadable.add(id)
            self.kept.release(id)
            return None

    # ---------------------------------------------------------------- a job's thread

    def _do(self, job: Job) -> None:
        try:
            self._work(AuditedClient(self._client, job.origin), job)
        except StoreUnavailableError as error:
            logger.warning("bulk job %s stands still: %s", job.id, error)
        except Exception:
            logger.exception("bulk job %s stands still", job.id)
        finally:
            with self._lock:
                del self._doing[job.id]
            # After an error it is taken up at the next look, not at once.
            if not job.is_running:
                self._wake.set()

    def _work(self, client: Client, job: Job) -> None:
        standing = self.kept.renew(job.id, self._holder)
        while standing == "wanted" and not self.is_closing.is_set():
            more = self._batch(client, job)
            job.beat_at = client.now()
            standing = self.kept.renew(job.id, self._holder)
            if standing == "lost":
                return  # another has taken it up, and may be further
            if not more:
                self._end(job, "done" if job.error is None else "failed")
                return
            self.kept.keep(job)
        if standing == "unwanted":
            self._end(job, "cancelled")
        elif standing == "wanted":
            self.kept.release(job.id)

    def _end(self, job: Job, status: Status) -> None:
        job.status, job.ended_at = status, self._client.now()
        self.kept.keep(job)

    def _batch(self, client: Client, job: Job) -> bool:
        """Treat the next runs; whether more may come. An error of the job's own ends it as failed."""
        try:
            return treat_batch(client, job)
        except StoreUnavailableError:
            raise
        except Exception as error:  # nobody else is there to hear of it
            logger.exception("bulk job %s failed", job.id)
            job.error = f"{type(error).__name__}: {error}"
            return False
