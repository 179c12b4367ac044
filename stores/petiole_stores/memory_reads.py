"""What the memory store shows of runs and tasks: the model of what each filter means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from petiole_stores.checks import place_of
from petiole_stores.memory_tables import MemoryTables, copy_task
from petiole_stores.records import Run, RunFilter, RunPage, RunStatus, Task, TaskCount, TaskFilter, TaskPage


class MemoryReads(MemoryTables):
    """Lists and counts."""

    def _list_runs(self, filter: RunFilter) -> RunPage:
        below = place_of(filter.cursor)
        with self._lock:
            found = [
                run
                for run in self._matching(filter)
                if (not filter.status or run.status in filter.status) and (below is None or run.seq < below)
            ]
            found.sort(key=lambda run: run.seq, reverse=True)
            page = [replace(run, input=None if filter.brief else run.input) for run in found[: filter.limit]]
            return RunPage(runs=page, next=str(page[-1].seq) if len(found) > filter.limit else None)

    def _count_runs(self, filter: RunFilter) -> Mapping[RunStatus, int]:
        with self._lock:
            return Counter(run.status for run in self._matching(filter))

    def _matching(self, filter: RunFilter) -> Iterator[Run]:
        """The runs that match, apart from status and cursor."""
        for run in self._runs.values():
            if (
                filter.graph in (None, run.graph)
                and filter.thread_id in (None, run.thread_id)
                and (filter.tag is None or filter.tag in run.tags)
                and (filter.since is None or run.created_at >= filter.since)
                and (filter.until is None or run.created_at < filter.until)
                and (not filter.graphs or run.graph in filter.graphs)
                and (not filter.namespaces or run.thread_id.partition(":")[0] in filter.namespaces)
                and (filter.error_type is None or _is_error(run, filter.error_type))
                and (filter.text is None or _has_text(run, filter.text))
            ):
                yield run

    def _get_task(self, task_id: str) -> Task | None:
        with self._lock:
            task = self._tasks.get(task_id)
            return None if task is None else copy_task(task)

    def _list_tasks(self, run_id: str) -> list[Task]:
        with self._lock:
            return [copy_task(task) for task in self._tasks_of(run_id)]

    def _tasks_page(self, run_id: str, filter: TaskFilter) -> TaskPage:
        after, numbers = place_of(filter.cursor), self._task_numbers
        with self._lock:
            found = [
                task
                for task in self._tasks_of(run_id)
                if filter.ns in (None, task.ns)
                and filter.node in (None, task.node)
                and filter.kind in (None, task.kind)
                and (not filter.status or task.status in filter.status)
                and filter.checkpoint_id in (None, task.checkpoint_id)
                and (after is None or numbers[task.task_id] > after)
            ]
            page = [copy_task(task) for task in found[: filter.limit]]
            more = len(found) > filter.limit
            if filter.brief:
                page = [replace(task, arg=None, output=None, progress=None) for task in page]
            return TaskPage(tasks=page, next=str(numbers[page[-1].task_id]) if more else None)

    def _task_counts(self, run_id: str) -> list[TaskCount]:
        found: dict[tuple[str, ...], TaskCount] = {}
        with self._lock:
            for task in self._tasks_of(run_id):
                count = found.setdefault(
                    (task.ns, task.node, task.kind, task.status),
                    TaskCount(
                        ns=task.ns, node=task.node, kind=task.kind, status=task.status, count=0,
                        created_at=task.created_at,
                    ),
                )  # fmt: skip
                count.count += 1
                count.created_at = min(count.created_at, task.created_at)
                if task.ended_at is not None:
                    count.ended_at = max(count.ended_at or 0.0, task.ended_at)
                count.crashes += task.crashes
                count.failures += task.failures
                count.recovered += task.recovered
                count.replaced += task.replaced
        return [found[key] for key in sorted(found)]


def _is_error(run: Run, error_type: str) -> bool:
    error = msgspec.json.decode(run.error) if run.error else None
    name = error.get("type") if isinstance(error, dict) else None
    return isinstance(name, str) and error_type in (name, name.rpartition(".")[2])


def _has_text(run: Run, text: str) -> bool:
    wanted = text.encode().lower()  # of bytes, A to Z alone
    return any(wanted in part.encode().lower() for part in (run.thread_id, run.run_id, run.graph, *run.tags))
