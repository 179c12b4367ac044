"""When the tasks of a run waited, ran, failed and were taken over, as bars on one scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from petiole.client import Client
from petiole.client.naming import graphs_of, name_of
from petiole.client.tries import number_of, tries_of
from petiole.dashboard.shape import FIRST, totals, words
from petiole_stores.records import Run, Task, TaskCount, TaskFilter

#: Units that the scale has from end to end.
WIDTH = 1000.0
#: So many tasks of one node are shown as one row.
COLLAPSED = 20
#: Tasks of one page of a row that was unfolded, and of a run that is read at once.
PAGE, AT_ONCE = 100, 500
#: How a try ends that is shown as one that failed.
FAILED = frozenset({"failed", "retry", "lost", "crashed"})


class Segment(NamedTuple):
    """A part of a bar. ``kind``: ``queue run retry wait takeover failed``."""

    kind: str
    began: float
    ended: float
    said: str


class Line(NamedTuple):
    """One row: a task, or (``task`` is ``None``) the many tasks of a node."""

    label: str
    depth: int  #: how many graphs it is in
    status: str
    segments: list[Segment]
    task: Task | None = None
    failures: int = 0  #: tries that failed or were lost
    worker: str = ""
    node: str = ""
    ns: str = ""
    number: int = 1
    note: str = ""


class Scale(NamedTuple):
    """The time that the rows are drawn over."""

    began: float
    ended: float

    def at(self, time: float) -> float:
        """Where a time is, in units."""
        length = max(self.ended - self.began, 1e-6)
        return round(min(max((time - self.began) / length, 0.0), 1.0) * WIDTH, 2)

    def width(self, segment: Segment) -> float:
        return round(max(self.at(segment.ended) - self.at(segment.began), 1.5), 2)

    def ticks(self) -> list[tuple[float, float]]:
        """Five places on the scale, with the seconds since its beginning."""
        length = self.ended - self.began
        return [(WIDTH * part / 4, length * part / 4) for part in range(5)]


def scale_of(run: Run, counts: Sequence[TaskCount], now: float) -> Scale:
    """From the submit to the end; to now while tasks are at work or wait for a worker."""
    at_work = any(count.status in ("claimed", "ready", "parked") for count in counts)
    ends = [count.ended_at for count in counts if count.ended_at is not None]
    ended = now if at_work and run.ended_at is None else max([run.ended_at or 0.0, run.created_at, *ends])
    began = min([run.created_at, *(count.created_at for count in counts)])
    return Scale(began, max(ended, began + 0.001))


def lines_of(
    client: Client, run: Run, counts: Sequence[TaskCount], names: Mapping[str, str], until: float
) -> list[Line]:
    """The rows of a run, in the order in which its tasks were made; nodes of many tasks as one row.

    ``names`` are those of workers by their ids; ``until`` is where bars of unfinished tasks end.
    """
    groups: dict[tuple[str, str], list[TaskCount]] = defaultdict(list)
    for count in counts:
        if count.kind == "node":
            groups[graphs_of(count.ns), count.node].append(count)
    many = {key for key, found in groups.items() if sum(count.count for count in found) > COLLAPSED}
    timed: list[tuple[float, Line]] = [
        (min(count.created_at for count in groups[key]), _many(key, groups[key], until)) for key in many
    ]
    timed += [
        (task.created_at, line_of(task, names, until))
        for task in _few(client, run, groups, many)
        if (graphs_of(task.ns), task.node) not in many
    ]
    return [line for _, line in sorted(timed, key=lambda one: one[0])]


def line_of(task: Task, names: Mapping[str, str], until: float) -> Line:
    """The row of one task."""
    return Line(
        label=name_of(task),
        depth=len(task.ns.split("|")) if task.ns else 0,
        status=task.status,
        segments=[*_segments(task, until)],
        task=task,
        failures=sum(one.outcome in FAILED for one in tries_of(task)),
        worker=names.get(task.holder or "", task.holder or ""),
        node=task.node,
        ns=task.ns,
        note="replaced by a replay" if task.replaced else "",
    )


def _few(
    client: Client,
    run: Run,
    groups: Mapping[tuple[str, str], Sequence[TaskCount]],
    many: set[tuple[str, str]],
) -> Iterator[Task]:
    """The tasks of nodes that have few."""
    if sum(count.count for found in groups.values() for count in found) <= AT_ONCE:
        asked: list[str | None] = [None]
    else:
        asked = [*dict.fromkeys(node for key in groups if key not in many for node in [key[1]])]
    for node in asked:
        filter = TaskFilter(kind="node", node=node, limit=AT_ONCE, brief=True)
        yield from client.store.tasks_page(run.run_id, filter).tasks


def _many(key: tuple[str, str], counts: Sequence[TaskCount], until: float) -> Line:
    above, node = key
    found = totals(counts)
    began = min(count.created_at for count in counts)
    open_ = any(count.status in ("claimed", "ready", "parked") for count in counts)
    ended = until if open_ else max((count.ended_at or began for count in counts), default=began)
    recovered, failures = sum(one.recovered for one in counts), sum(one.failures for one in counts)
    said = [f"{failures:,} tried again"] if failures else []
    said += [f"{recovered:,} taken over"] if recovered else []
    return Line(
        label=node,
        depth=above.count("/") + 1 if above else 0,
        status=next((one for one in FIRST if found[one]), ""),
        segments=[Segment("many", began, ended, words(found))],
        node=node,
        ns=above,
        number=sum(found.values()),
        note=", ".join([words(found), *said]),
    )


def _segments(task: Task, until: float) -> Iterator[Segment]:
    """What the task did from its making on: each wait, each attempt, and why there was another one."""
    at, waits = task.created_at, ("queue", "waited for a worker")
    for attempt in task.attempts:
        if attempt.claimed_at is not None:
            yield Segment(waits[0], at, attempt.claimed_at, waits[1])
            kind = "failed" if attempt.outcome in FAILED else "run"
            said = f"attempt {attempt.attempt}: {_OUTCOMES[attempt.outcome]}"
            yield Segment(kind, attempt.claimed_at, attempt.ended_at, said)
        at = attempt.ended_at
        waits = _WAITS[attempt.outcome]
    if task.claimed_at is not None and task.status != "ready" and task.claimed_at >= at:
        yield Segment(waits[0], at, task.claimed_at, waits[1])
        failed = task.status == "failed"
        ended = task.ended_at if task.ended_at is not None else until
        yield Segment("failed" if failed else "run", task.claimed_at, ended, f"attempt {number_of(task)}")
    elif task.ended_at is None:
        yield Segment(waits[0], at, until, waits[1])


_OUTCOMES = {
    "lost": "its worker was lost",
    "crashed": "its process died",
    "released": "given back",
    "retry": "failed, to be tried again",
    "parked": "waits",
}
_WAITS = {
    "lost": ("takeover", "until another worker took it over"),
    "crashed": ("takeover", "until another process took it over"),
    "released": ("queue", "waited for a worker"),
    "retry": ("retry", "waited for the next attempt"),
    "parked": ("wait", "waited for a timer, signal, answer or child"),
}
