"""The looking half of the ledger's contract: what a store shows of runs, tasks, checkpoints and workers.

Lists are read page by page, forwards only: a page names where the next one begins (``next``), so that no page costs more
than the first one and rows that come or go in between shift nothing. Counts are made by the store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from petiole_stores.checks import check_run_filter, check_task_filter
from petiole_stores.records import (
    Blob,
    Checkpointed,
    Run,
    RunFilter,
    RunPage,
    RunStatus,
    Task,
    TaskCount,
    TaskFilter,
    TaskPage,
    Worker,
)

STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)


class LedgerReads(ABC):
    """Reads that change nothing."""

    def holds(self, task_id: str, token: str) -> bool:
        """Whether a finish under this token would still be taken: the token stands and the run has not settled."""
        return self._holds(task_id, token)

    # ---------------------------------------------------------------- runs

    def get_run(self, run_id: str) -> Run | None:
        """The run, or ``None``."""
        return self._get_run(run_id)

    def newest_run(self, thread_id: str) -> Run | None:
        """The run that was submitted last on the thread, or ``None``."""
        page = self.list_runs(RunFilter(thread_id=thread_id, limit=1))
        return page.runs[0] if page.runs else None

    def list_runs(self, filter: RunFilter = RunFilter()) -> RunPage:  # noqa: B008 - frozen
        """Runs that match, newest first, ``limit`` (1 to 1000) at a time. Raises InputError for a filter that makes no sense."""
        check_run_filter(filter)
        page = self._list_runs(filter)
        if page.counts is None and page.next is None and filter.cursor is None and not filter.status:
            page.counts = Counter(run.status for run in page.runs)
        if page.counts is not None:
            page.counts = _named(page.counts)
        return page

    def count_runs(self, filter: RunFilter = RunFilter()) -> dict[RunStatus, int]:  # noqa: B008 - frozen
        """How many runs match, by status: every status is named. Of the filter, ``status``, ``limit`` and ``cursor`` do
        not count."""
        check_run_filter(filter)
        return _named(self._count_runs(filter))

    # ---------------------------------------------------------------- tasks

    def get_task(self, task_id: str) -> Task | None:
        """The task, or ``None``."""
        return self._get_task(task_id)

    def list_tasks(self, run_id: str) -> list[Task]:
        """All tasks of a run in the order they were made."""
        return self._list_tasks(run_id)

    def tasks_page(self, run_id: str, filter: TaskFilter = TaskFilter()) -> TaskPage:  # noqa: B008 - frozen
        """Tasks of a run that match, in the order they were made, ``limit`` (1 to 1000) at a time.

        Raises InputError for a filter that makes no sense.
        """
        check_task_filter(filter)
        return self._tasks_page(run_id, filter)

    def task_counts(self, run_id: str) -> list[TaskCount]:
        """How many tasks a run has, by namespace, node, kind and status; sorted by these."""
        return self._task_counts(run_id)

    # ---------------------------------------------------------------- checkpoints

    def head(self, thread_id: str, ns: str = "") -> Checkpointed | None:
        """The newest checkpoint of a thread and namespace: the one its head names."""
        return self._head(thread_id, ns)

    def get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        """The checkpoint, or ``None``."""
        return self._get_checkpoint(checkpoint_id)

    def list_checkpoints(
        self,
        thread_id: str,
        *,
        ns: str | None = "",
        before: int | None = None,
        limit: int | None = None,
        brief: bool = False,
    ) -> list[Checkpointed]:
        """Checkpoints of a thread, newest first by ``seq``.

        Parameters
            ns      the namespace; ``None``: all of them
            before  only those with a smaller ``seq``
            limit   so many at the most; ``None``: all
            brief   leave out the state (it is empty text then), so that a list of large ones is cheap
        """
        return self._list_checkpoints(thread_id, ns, before, limit, brief)

    def get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        """The thread's blobs with these digests; missing ones are left out."""
        return self._get_blobs(thread_id, digests) if digests else {}

    # ---------------------------------------------------------------- workers

    def list_workers(self) -> list[Worker]:
        """Every worker that the ledger still remembers, newest start first."""
        return self._list_workers()

    # ---------------------------------------------------------------- primitives of a backend

    @abstractmethod
    def _holds(self, task_id: str, token: str) -> bool: ...
    @abstractmethod
    def _get_run(self, run_id: str) -> Run | None: ...
    @abstractmethod
    def _list_runs(self, filter: RunFilter) -> RunPage: ...
    @abstractmethod
    def _count_runs(self, filter: RunFilter) -> Mapping[RunStatus, int]: ...
    @abstractmethod
    def _get_task(self, task_id: str) -> Task | None: ...
    @abstractmethod
    def _list_tasks(self, run_id: str) -> list[Task]: ...
    @abstractmethod
    def _tasks_page(self, run_id: str, filter: TaskFilter) -> TaskPage: ...
    @abstractmethod
    def _task_counts(self, run_id: str) -> list[TaskCount]: ...
    @abstractmethod
    def _head(self, thread_id: str, ns: str) -> Checkpointed | None: ...
    @abstractmethod
    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None: ...
    @abstractmethod
    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> list[Checkpointed]: ...
    @abstractmethod
    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]: ...
    @abstractmethod
    def _list_workers(self) -> list[Worker]: ...


def _named(counts: Mapping[RunStatus, int]) -> dict[RunStatus, int]:
    """The counts with every status in them."""
    return {status: counts.get(status, 0) for status in STATUSES}
