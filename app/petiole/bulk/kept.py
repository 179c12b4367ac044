"""Bulk jobs in the store's items: their records, which of them are open, who does one, and who wants it to end."""

from __future__ import annotations

from typing import Literal

import msgspec

from petiole.bulk.job import Job
from petiole_stores.decoding import decoder
from petiole_stores.errors import ConflictError, NotFoundError
from petiole_stores.items import MAX_LIMIT, Item, NewItem
from petiole_stores.store import Store

# One partition of a Redis store (the first three labels of a namespace), so that a batch is written as a whole.
_JOBS = ("petiole", "bulk", "jobs")
RECORDS, OPEN, LEASES, WISHES = ((*_JOBS, part) for part in ("records", "open", "leases", "wishes"))

#: How long a job is kept after the last word of it, in seconds.
KEPT = 7 * 86400.0
#: How long a process has a job for itself without renewing that, in seconds.
LEASE = 15.0


#: Of a claimed job: it goes on, somebody wants its end, or another holder has it.
Standing = Literal["wanted", "unwanted", "lost"]


class KeptJobs:
    """The jobs of one store. May be used by several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # ---------------------------------------------------------------- for everybody

    def find(self, id: str) -> Job:
        """Raises NotFoundError."""
        job = self._find(id)
        if job is None:
            raise missing(id)
        return job

    def recent(self, limit: int = 50) -> list[Job]:
        """The jobs that were heard of last."""
        return [_read(item) for item in self._store.search_items(RECORDS, limit=limit)]

    def cancel(self, id: str) -> Job:
        """Ask for a job's end: it ends after the runs that it has in hand. Raises NotFoundError and ConflictError."""
        job = self.find(id)
        if not job.is_running:
            raise ConflictError(f"bulk job {id!r} is {job.status}: only a running one can be cancelled")
        self._store.put_items([NewItem(WISHES, id, '"cancel"', KEPT)])
        return job

    def add(self, job: Job) -> Job:
        """Begin a job; it, or the one of this id that is there before."""
        record, marker = self._items(job)
        [is_ours, _] = self._store.put_items([msgspec.structs.replace(record, if_absent=True), marker])
        return job if is_ours else self.find(job.id)

    # ---------------------------------------------------------------- for who does them

    def open_ids(self) -> list[str]:
        """Jobs that have not ended; those that nobody has worked at for longest come first."""
        return [item.key for item in reversed(self._store.search_items(OPEN, limit=MAX_LIMIT))]

    def claim(self, id: str, holder: str) -> Job | None:
        """Take a job for oneself; ``None`` where another has it, or it has ended."""
        lease = NewItem(LEASES, id, _quoted(holder), LEASE, if_absent=True)
        if not all(self._store.put_items([lease])):
            return None
        job = self._find(id)
        if job is None or not job.is_running:
            self._store.put_items([NewItem(where, id, None) for where in (OPEN, LEASES)])
            return None
        return job

    def renew(self, id: str, holder: str) -> Standing:
        """How a job stands that this holder has claimed; if it is still his, then it is for another while."""
        [lease, wish] = self._store.get_items([(LEASES, id), (WISHES, id)], refresh=True)
        if lease is None or lease.value != _quoted(holder):
            return "lost"
        return "wanted" if wish is None else "unwanted"

    def keep(self, job: Job) -> None:
        """Write down how far a job has come; one that has ended is nobody's any more.

        The record and the mark that it is open are written as a whole: should a process that has lost its lease unawares
        write an older record over a newer one, then the job is taken up from there, and what is done already counts as
        ``already``.
        """
        record, marker = self._items(job)
        if job.is_running:
            self._store.put_items([record, marker])
        else:
            self._store.put_items(
                [record, *(NewItem(where, job.id, None) for where in (OPEN, LEASES, WISHES))]
            )

    def release(self, id: str) -> None:
        """Let go of a job that is one's own, for another to take it up at once."""
        self._store.put_items([NewItem(LEASES, id, None)])

    # ---------------------------------------------------------------- within

    def _find(self, id: str) -> Job | None:
        [item] = self._store.get_items([(RECORDS, id)])
        return None if item is None else _read(item)

    @staticmethod
    def _items(job: Job) -> tuple[NewItem, NewItem]:
        record = NewItem(RECORDS, job.id, msgspec.json.encode(job).decode(), KEPT)
        return record, NewItem(OPEN, job.id, "true", KEPT)


def missing(id: str) -> NotFoundError:
    """For a job that is not there, or not for the asker to see."""
    return NotFoundError(f"bulk job {id!r} does not exist, or ended more than a week ago")


def _read(item: Item) -> Job:
    return _job(item.value)


def _quoted(holder: str) -> str:
    return msgspec.json.encode(holder).decode()


_job = decoder(Job)
