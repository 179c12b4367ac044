"""Lists and counts of runs and tasks on Redis.

No index holds what filters ask for but those of runs, by time: of all, of all with their names, of a thread, and of those that
have not settled. Scripts walk along them, a bounded stretch each and of a few partitions at a time, so that others get their turn at the
server between; of a run that does not match they read the few fields that tell so. A list that comes to the end of all that matches has counted it, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from petiole_stores.records import (
    SETTLED,
    Run,
    RunFilter,
    RunPage,
    RunStatus,
    Task,
    TaskCount,
    TaskFilter,
    TaskPage,
)
from petiole_stores.redis.base import RedisBase
from petiole_stores.redis.requests import decoder

#: How many entries of an index one script looks at (at most some 3 ms), and how many scripts are sent at once: a server goes
#: through all that a client has sent before it turns to the next.
LOOK, ABREAST = 500, 4
#: Of how many runs more than twice its share of a page a partition is asked at first: threads are spread evenly.
SPARE = 8


class _Runs(msgspec.Struct):
    runs: list[Run]
    counts: list[tuple[RunStatus, int]]
    seq: int | None = None
    after: str | None = None


class _RunCounts(msgspec.Struct):
    counts: list[tuple[RunStatus, int]]
    seq: int | None = None
    after: str | None = None


class _Tasks(msgspec.Struct):
    tasks: list[tuple[int, Task]]
    after: int | None = None


class _TaskCounts(msgspec.Struct):
    counts: list[TaskCount]
    after: int | None = None


class _Part(Protocol):
    """Part of what is asked for, and where to go on (``None``: nowhere)."""

    after: Any


T = TypeVar("T")
Part = TypeVar("Part", bound=_Part)
#: What a script is asked in each partition.
_Pending = dict[int, dict[str, Any]]

_tasks = decoder(list[Task])
_task_page = decoder(_Tasks)
_task_counts = decoder(_TaskCounts)
_runs = decoder(_Runs)
_run_counts = decoder(_RunCounts)


class Listing(RedisBase):
    """What the store shows of many runs or tasks."""

    # ---------------------------------------------------------------- runs

    def _list_runs(self, filter: RunFilter) -> RunPage:
        """Partitions are read part by part until none can have a run that belongs on the merged page."""
        searched = self._searched(filter)
        share = min(filter.limit + 1, 2 * filter.limit // len(searched) + SPARE)
        open_alone = filter.thread_id is None and bool(filter.status) and SETTLED.isdisjoint(filter.status)
        request = _filtered(filter) | {
            "status": filter.status,
            "open": open_alone,
            "brief": filter.brief,
            "limit": share,
        }
        if filter.cursor is not None:
            seq, _, request["after"] = filter.cursor.partition(".")
            request["seq"] = int(seq)
        runs: list[Run] = []
        counts: Counter[RunStatus] = Counter()
        pending, counted = dict.fromkeys(searched, request), filter.cursor is None and not open_alone
        while pending:
            parts = self._abreast("list_runs", pending, _runs)
            for part in parts:
                runs += part.runs
                counts.update(dict(part.counts))
            runs.sort(key=_place, reverse=True)
            runs = runs[: filter.limit + 1]
            last = _place(runs[-1]) if len(runs) > filter.limit else None
            ahead = _ahead(pending, parts)
            pending = {
                partition: asked
                for partition, asked in ahead.items()
                if last is None or (asked["seq"], asked["after"]) > last
            }
            counted = counted and len(pending) == len(ahead)
        page = runs[: filter.limit]
        more = len(runs) > filter.limit
        return RunPage(
            runs=page,
            next=f"{page[-1].seq}.{page[-1].run_id}" if more else None,
            counts=counts if counted else None,
        )

    def _count_runs(self, filter: RunFilter) -> Mapping[RunStatus, int]:
        counts: Counter[RunStatus] = Counter()
        pending = dict.fromkeys(self._searched(filter), _filtered(filter))
        while pending:
            parts = self._abreast("count_runs", pending, _run_counts)
            for part in parts:
                counts.update(dict(part.counts))
            pending = _ahead(pending, parts)
        return counts

    def _abreast(self, script: str, pending: _Pending, decode: Callable[[bytes], T]) -> list[T]:
        """What the script answers in each partition."""
        calls = [self._call(script, partition, asked) for partition, asked in pending.items()]
        return [
            answer
            for begin in range(0, len(calls), ABREAST)
            for answer in self._run(calls[begin : begin + ABREAST], decode)
        ]

    def _searched(self, filter: RunFilter) -> range | list[int]:
        """The partitions that may have runs that match."""
        return range(self.partitions) if filter.thread_id is None else [self._partition(filter.thread_id)]

    # ---------------------------------------------------------------- tasks

    def _list_tasks(self, run_id: str) -> list[Task]:
        for _ in range(2):
            partition = self._locate("run", [run_id]).get(run_id)
            if partition is None:
                break
            if found := self._on(partition, "read", {"what": "tasks", "id": run_id}, _tasks):
                return found
            self._locator.forget("run", run_id)
        return []

    def _tasks_page(self, run_id: str, filter: TaskFilter) -> TaskPage:
        names = ("ns", "node", "kind", "status", "checkpoint_id", "brief")
        request = {name: getattr(filter, name) for name in names} | {"limit": filter.limit + 1}
        after = None if filter.cursor is None else int(filter.cursor.partition(".")[0])
        found: list[tuple[int, Task]] = []
        for part in self._parts(run_id, "tasks_page", request, after, _task_page):
            found += part.tasks
            if len(found) > filter.limit:
                break
        page, more = found[: filter.limit], len(found) > filter.limit
        return TaskPage(tasks=[task for _, task in page], next=str(page[-1][0]) if more else None)

    def _task_counts(self, run_id: str) -> list[TaskCount]:
        found: dict[tuple[str, ...], TaskCount] = {}
        for part in self._parts(run_id, "task_counts", {}, None, _task_counts):
            for count in part.counts:
                key = (count.ns, count.node, count.kind, count.status)
                known = found.setdefault(key, count)
                if known is not count:
                    _add(known, count)
        return [found[key] for key in sorted(found)]

    def _parts(
        self,
        run_id: str,
        script: str,
        request: dict[str, Any],
        after: int | None,
        decode: Callable[[bytes], Part],
    ) -> Iterator[Part]:
        """What the script finds in a run's tasks, stretch by stretch."""
        self._locator.forget(
            "run", run_id
        )  # a hint may say where it will be: an empty answer would be taken for the end
        partition = self._locate("run", [run_id]).get(run_id)
        while partition is not None:
            part = self._on(partition, script, request | {"id": run_id, "after": after, "most": LOOK}, decode)
            yield part
            if part.after is None:
                return
            after = part.after


def _ahead(pending: _Pending, parts: Sequence[_Runs | _RunCounts]) -> _Pending:
    """What is still to be asked, and where."""
    return {
        partition: {**asked, "seq": part.seq, "after": part.after}
        for (partition, asked), part in zip(pending.items(), parts, strict=True)
        if part.seq is not None
    }


def _place(run: Run) -> tuple[int, str]:
    """Where a run is in the order of the merged page."""
    return run.seq, run.run_id


def _filtered(filter: RunFilter) -> dict[str, Any]:
    """A filter as run_filter.lua takes it."""
    names = ("graph", "thread_id", "tag", "error_type", "since", "until", "graphs", "namespaces")
    text = filter.text.encode().lower().decode() if filter.text else None  # all runs have an empty one
    return {name: getattr(filter, name) for name in names} | {"text": text, "most": LOOK}


def _add(count: TaskCount, other: TaskCount) -> None:
    count.count += other.count
    count.created_at = min(count.created_at, other.created_at)
    if other.ended_at is not None:
        count.ended_at = max(count.ended_at or 0.0, other.ended_at)
    count.crashes += other.crashes
    count.failures += other.failures
    count.recovered += other.recovered
    count.replaced += other.replaced
