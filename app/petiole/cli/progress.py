"""``petiole run watch``: a run's progress, live on a terminal, a line a change elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Container, Sequence

from rich.console import Group
from rich.live import Live
from rich.text import Text

from petiole.cli import output as out
from petiole.cli.options import Format
from petiole.cli.portrait import Place, lines_of, order_of, portrait
from petiole.client import Client, RunHandle
from petiole.client.answering import told
from petiole.client.handle import RESTING, timed_out
from petiole.client.reasons import reason_of
from petiole.documents import run_document
from petiole_stores.errors import ConfigurationError, GraphError, StoreUnavailableError
from petiole_stores.records import Run, Task

#: Seconds between two looks.
PAUSE = 0.25
#: How many running tasks are named: in a line, and beside their node.
SHOWN, BESIDE = 10, 2
#: How tasks end that leave their superstep unfinished.
UNDONE = ("failed", "cancelled", "interrupted")


class View:
    """What is known of a run at one moment."""

    def __init__(
        self,
        run: Run,
        tasks: list[Task],
        names: dict[str, str],
        asked: Sequence[str] = (),
        order: Sequence[Place] = (),
        trouble: str = "",
    ) -> None:
        self.run, self.tasks, self.names, self.asked = run, tasks, names, asked
        self.order, self.trouble = order, trouble

    @property
    def line(self) -> str:
        """All of it in a line."""
        numbers = ", ".join(f"{number} {status}" for status, number in counts(self.tasks).items())
        now = ", ".join(f"{node} on {where}" for node, where, _ in self.running[:SHOWN])
        why = f" ({reason_of(self.run)})" if self.run.reason else ""
        said = f"{self.run.status}{why}: {numbers or 'no tasks yet'}" + (f"; running {now}" if now else "")
        return "; ".join([said, *self.asked])

    @property
    def running(self) -> list[tuple[str, str, float]]:
        """Node, worker and seconds of each task that is claimed, the longest first."""
        claimed = [task for task in self.tasks if task.status == "claimed"]
        claimed.sort(key=lambda task: task.claimed_at or 0.0)
        return [
            (
                task.node,
                self.names.get(task.holder or "", task.holder or "?"),
                time.time() - (task.claimed_at or time.time()),
            )
            for task in claimed
        ]

    def __rich__(self) -> Group:
        run = self.run
        head = Text.assemble(
            (run.graph, "bold"),
            f"  thread {run.thread_id}  run {run.run_id}  ",
            (run.status, out.COLOURS.get(run.status, "")),
            f"  {reason_of(run)}" if run.reason else "",
            f"  deadline {out.ago(run.deadline)}"
            if run.deadline is not None and run.ended_at is None
            else "",
        )
        return Group(
            head,
            portrait(lines_of(self.tasks, self.order), self._doing),
            Text(
                ", ".join(f"{number} {status}" for status, number in counts(self.tasks).items()), style="dim"
            ),
            *(Text(line) for line in self.asked),
            Text(self.trouble, style="yellow"),
        )

    def _doing(self, place: Place) -> str:
        """Which workers a node runs on, and for how long it has."""
        mine = [one for one in self.running if one[0] == place[-1]]
        said = [f"{where} {out.span(seconds)}" for _, where, seconds in mine[:BESIDE]]
        return ", ".join(said) + (f" and {len(mine) - BESIDE} more" if len(mine) > BESIDE else "")


def counts(tasks: Sequence[Task]) -> dict[str, int]:
    """How many of a run's tasks are where.

    Left out are those that others have taken the place of, and nodes that are graphs and ended as a task of theirs did.
    """
    kept = [task for task in tasks if not task.replaced]
    ends = {(task.ns, task.status) for task in kept}
    found = Counter[str](task.status for task in kept if not _ended_within(task, ends))
    order = ("done", "claimed", "ready", "parked", "interrupted", "failed", "cancelled")
    return {status: found[status] for status in order if found[status]}


def _ended_within(task: Task, ends: Container[tuple[str, str]]) -> bool:
    """Whether a task has failed, been cancelled or interrupted because one in its namespace was."""
    return bool(task.child) and task.status in UNDONE and (task.child, task.status) in ends


def follow(client: Client, handle: RunHandle, *, timeout: float | None, format: Format) -> Run:
    """Show the run until it has settled or is interrupted, and return its record. The store may go and come meanwhile."""
    until = None if timeout is None else time.monotonic() + timeout
    live = format is Format.text and sys.stdout.isatty()
    order = _order(client, handle) if live else ()
    view = _look(client, handle, order)
    if not live:
        return _follow_lines(client, handle, view, until, timeout, format)
    with Live(view, console=out.console(), refresh_per_second=8) as shown:
        while view.run.status not in RESTING:
            _pause(view, until, timeout)
            view = _next(client, handle, view)
            shown.update(view)
    return view.run


def _follow_lines(
    client: Client, handle: RunHandle, view: View, until: float | None, timeout: float | None, format: Format
) -> Run:
    said = ""
    while True:
        line = view.trouble or view.line
        if line != said:
            if format is Format.text:
                print(line, flush=True)
            else:
                out.write_json(run_document(view.run) | {"tasks": counts(view.tasks)}, Format.jsonl)
            said = line
        if view.run.status in RESTING:
            return view.run
        _pause(view, until, timeout)
        view = _next(client, handle, view)


def _order(client: Client, handle: RunHandle) -> Sequence[Place]:
    """The nodes of the run's graph in its order, where the graph is to be had here."""
    try:
        return order_of(client.graph_of(handle.run.graph).get_graph(xray=True))
    except (ConfigurationError, GraphError):
        return ()


def _look(client: Client, handle: RunHandle, order: Sequence[Place]) -> View:
    run = handle.run
    tasks = client.store.list_tasks(run.run_id)
    asks = any(task.status == "interrupted" for task in tasks)
    return View(
        run,
        tasks,
        {worker.worker_id: worker.name for worker in client.workers()},
        told(client.questions(run)) if asks else [],
        order,
    )


def _next(client: Client, handle: RunHandle, before: View) -> View:
    try:
        return _look(client, handle, before.order)
    except StoreUnavailableError as error:
        trouble = f"the store does not answer ({error}); trying again"
        return View(before.run, before.tasks, before.names, before.asked, before.order, trouble)


def _pause(view: View, until: float | None, timeout: float | None) -> None:
    if until is not None and time.monotonic() >= until:
        raise timed_out(view.run, timeout)
    # A run of thousands of tasks is not read more often than is good for its store.
    time.sleep(PAUSE if len(view.tasks) < 1000 else 4 * PAUSE)
