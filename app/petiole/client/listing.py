"""The client's calls that list and count: runs by filter, and the tasks of one run, as much as one look needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack

from petiole.client.connection import Connection
from petiole.client.run_query import RunQuery, run_filter
from petiole_stores.errors import NotFoundError
from petiole_stores.records import Run, RunPage, RunStatus, Task, TaskCount, TaskFilter, TaskKind, TaskPage
from petiole_workers.active import PAGE, runs_of


class Listing(Connection):
    """Finds runs and tasks, all of them or page by page."""

    def get_run(self, run_or_thread: str, *, thread_id: str | None = None) -> Run:
        """The run of this id, else the newest run of the thread of this id. Raises NotFoundError.

        ``thread_id`` is the run's thread where it is known; some stores find the run faster with it.
        """
        if thread_id is not None:
            self.store.hint(thread_id, [run_or_thread])
        run = self.store.get_run(run_or_thread)
        if run is None and thread_id is None:
            run = self.store.newest_run(run_or_thread)
        if run is None:
            raise NotFoundError(
                f"neither a run nor a thread {run_or_thread!r} is known to {self.store.url.shown}: `petiole run list` shows "
                "what is there"
            )
        return run

    def list_runs(self, **query: Unpack[RunQuery]) -> Iterator[Run]:
        """Runs that match, newest first; pages are fetched as they are needed. The filters are those of :class:`RunQuery`.

        Raises InputError for one that makes no sense.
        """
        return runs_of(self.store, run_filter(**query, limit=PAGE))

    def runs_page(self, *, limit: int = 50, cursor: str | None = None, **query: Unpack[RunQuery]) -> RunPage:
        """One page of what :meth:`list_runs` gives: at most ``limit`` (1 to 1000) runs from where ``cursor`` says.

        ``cursor`` is the ``next`` of the page before; that of the last page is ``None``.
        """
        return self.store.list_runs(run_filter(**query, limit=limit, cursor=cursor))

    def count_runs(self, **query: Unpack[RunQuery]) -> dict[RunStatus, int]:
        """How many runs match, by status: each is named. ``status`` in the query narrows nothing here."""
        return self.store.count_runs(run_filter(**query))

    def tasks(self, run_or_thread: str) -> list[Task]:
        """The tasks of a run in the order they were made, with their attempts. Raises NotFoundError."""
        return self.store.list_tasks(self.get_run(run_or_thread).run_id)

    def tasks_page(
        self,
        run_or_thread: str,
        *,
        ns: str | None = None,
        node: str | None = None,
        kind: TaskKind | None = None,
        status: str | Sequence[str] = (),
        checkpoint_id: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        brief: bool = False,
    ) -> TaskPage:
        """Some tasks of a run in the order they were made: at most ``limit`` (1 to 1000) from where ``cursor`` says.

        Parameters
            ns             of this namespace (empty: the root)
            node           of this node
            kind           ``node``, or ``advance`` for those that settle supersteps
            status         in one of these
            checkpoint_id  of the superstep after this checkpoint
            cursor         the ``next`` of the page before
            brief          leave ``arg``, ``output`` and ``progress`` out

        Raises NotFoundError.
        """
        filter = TaskFilter(
            ns=ns,
            node=node,
            kind=kind,
            status=[status] if isinstance(status, str) else list(status),
            checkpoint_id=checkpoint_id,
            limit=limit,
            cursor=cursor,
            brief=brief,
        )
        return self.store.tasks_page(self.get_run(run_or_thread).run_id, filter)

    def task_counts(self, run_or_thread: str) -> list[TaskCount]:
        """How many tasks a run has, by namespace, node, kind and status. Raises NotFoundError."""
        return self.store.task_counts(self.get_run(run_or_thread).run_id)
