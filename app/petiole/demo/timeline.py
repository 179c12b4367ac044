"""Which worker ran what: every attempt of a run as a line in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from petiole.client.naming import name_of
from petiole_stores.records import Task, Worker

#: What the other columns and the word "killed" take of a line.
BESIDE = 54


@dataclass(frozen=True)
class Span:
    """One attempt at one task. Times are the store's, in seconds."""

    label: str
    worker: str
    began: float
    ended: float
    attempt: int
    outcome: str  # "done", "lost", "crashed", …


def spans(tasks: Sequence[Task], workers: Sequence[Worker], deaths: dict[str, float]) -> list[Span]:
    """All attempts in order of their beginning; one that was lost ends when its worker was killed (``deaths``)."""
    names = {worker.worker_id: worker.name.partition("@")[0] for worker in workers}
    found = []
    for task in tasks:
        label = (
            name_of(task)
            if ":" not in task.path or not task.path.startswith("push:")
            else f"{task.node} {int(task.path[5:])}"
        )
        for past in task.attempts:
            name = names.get(past.holder or "", "?")
            ended = min(past.ended_at, deaths.get(name, past.ended_at))
            found.append(
                Span(label, name, past.claimed_at or past.ended_at, ended, past.attempt, past.outcome)
            )
        if task.claimed_at is not None and task.ended_at is not None:
            name = names.get(task.holder or "", "?")
            found.append(Span(label, name, task.claimed_at, task.ended_at, task.attempt, task.status))
    return sorted(found, key=lambda span: (span.began, span.label))


def takeovers(spans: Sequence[Span]) -> list[tuple[Span, Span]]:
    """Pairs of a lost attempt and the one that took its task up."""
    return [
        (lost, after)
        for lost in spans
        if lost.outcome in ("lost", "crashed")
        for after in spans
        if after.label == lost.label and after.attempt == lost.attempt + 1
    ]


def table(spans: Sequence[Span], colours: dict[str, str], width: int) -> Table:
    """The timeline as a table with a bar a line, ``width`` columns wide (at least 66)."""
    room = max(12, min(48, width - BESIDE))
    result = Table(title="Who ran what", title_justify="left", box=None, pad_edge=False)
    result.add_column("task", no_wrap=True)
    result.add_column("worker", no_wrap=True)
    result.add_column("try", justify="right", no_wrap=True)
    result.add_column("from", justify="right", no_wrap=True)
    result.add_column("took", justify="right", no_wrap=True)
    result.add_column("", no_wrap=True)
    start = min(span.began for span in spans)
    length = max(max(span.ended for span in spans) - start, 1e-3)
    for span in spans:
        left = int((span.began - start) / length * (room - 1))
        wide = max(1, round((span.ended - span.began) / length * room))
        colour = colours.get(span.worker, "white")
        bar = Text(" " * left)
        lost = span.outcome in ("lost", "crashed")
        bar.append(("░" if lost else "█") * min(wide, room - left), style="red" if lost else colour)
        if lost:
            bar.append(" killed", style="bold red")
        result.add_row(
            span.label,
            Text(span.worker, style=colour),
            str(span.attempt),
            f"{span.began - start:.2f} s",
            f"{(span.ended - span.began) * 1000:.0f} ms",
            bar,
        )
    return result
