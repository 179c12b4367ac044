"""The judgement: what was accepted must have ended, rightly, and each output must have been committed once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from petiole.client import Client
from petiole_stores.errors import NotFoundError, PetioleError
from petiole_stores.records import SETTLED, Checkpointed, Run, Task
from petiole_workers.submission import START_NODE
from tests.graphs import journal
from tests.torture.clients import Ticket
from tests.torture.oracle import Oracle, difference, essence


@dataclass
class Verdict:
    """What the checker found; each list holds one text a finding."""

    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mute: list[str] = field(default_factory=list)  #: workers that run and no longer renew their lease
    runs: int = 0
    threads: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    nodes: int = 0  #: committed outputs of nodes
    executions: int = 0
    necessary: int = 0
    disturbed: set[str] = field(default_factory=set)  #: threads with an attempt that was lost or crashed
    tasks: list[Task] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.stuck or self.wrong or self.doubled or self.missing or self.mute)

    @property
    def recovered(self) -> int:
        """Disturbed threads; all of them ended as they should if the verdict is good."""
        return len(self.disturbed)


class Checker:
    """Compares the store, read directly, with what the clients and the oracle know."""

    def __init__(self, client: Client, oracle: Oracle) -> None:
        self._client, self._store, self._oracle = client, client.store, oracle
        self._is_trimmed = client.settings.max_checkpoints > 0
        #: Else a superstep that was carried in memory leaves no task of its own, rightly.
        self._is_sync = client.settings.durability == "sync"

    def unsettled(self, tickets: list[Ticket]) -> list[Ticket]:
        """Tickets whose runs have not ended."""
        found = []
        for ticket in tickets:
            run = self._run(ticket)
            if run is not None and run.status not in SETTLED:
                found.append(ticket)
        return found

    def mute(self, holders: Iterable[str]) -> list[str]:
        """Workers, by their ids, that the ledger does not take for living."""
        known = {worker.worker_id: worker for worker in self._store.list_workers()}
        return [
            f"worker {worker.name} (process {worker.pid}) runs, and is {worker.status} in the ledger, "
            f"last heard of {time.time() - worker.beat_at:.1f} s ago"
            for holder in holders
            if (worker := known.get(holder)) is not None and worker.status != "alive"
        ]

    def judge(self, tickets: list[Ticket]) -> Verdict:
        verdict = Verdict()
        # Runs that are stuck may yet move: what they executed is read after what the ledger says of it.
        found = [(ticket, self._run(ticket), self._tasks(ticket)) for ticket in tickets]
        lines: dict[Any, Counter[str]] = {}
        for desk in {ticket.desk for ticket in tickets}:
            lines[desk] = Counter(execution.task for execution in journal(desk))
        verdict.runs, verdict.threads = len(tickets), len({ticket.thread_id for ticket in tickets})
        for ticket, run, tasks in found:
            if run is None:
                verdict.lost.append(f"{_name(ticket)}: its submit returned, and the store does not know it")
                continue
            verdict.statuses[run.status] += 1
            verdict.tasks += tasks
            if any(tried.outcome in ("lost", "crashed") for task in tasks for tried in task.attempts):
                verdict.disturbed.add(ticket.thread_id)
            if run.status not in SETTLED:
                verdict.stuck.append(self._explain(ticket, run, tasks))
                continue
            verdict.wrong += [f"{_name(ticket)}: {fault}" for fault in self._wrong(ticket, run)]
            self._count(verdict, ticket, tasks, lines[ticket.desk])
            records = self._store.list_checkpoints(ticket.thread_id)
            verdict.doubled += [
                f"{_name(ticket)}: {fault}"
                for fault in _doubled(run, tasks, records, is_trimmed=self._is_trimmed)
            ]
            is_there = any(record.checkpoint_id == run.checkpoint_id for record in records)
            if run.status == "succeeded" and self._is_sync and (is_there or not self._may_be_trimmed(run)):
                verdict.missing += [f"{_name(ticket)}: {fault}" for fault in _missing(run, tasks, records)]
        return verdict

    # ---------------------------------------------------------------- one run

    def _run(self, ticket: Ticket) -> Run | None:
        self._store.hint(ticket.thread_id, [ticket.run_id])
        return self._store.get_run(ticket.run_id)

    def _tasks(self, ticket: Ticket) -> list[Task]:
        self._store.hint(ticket.thread_id, [ticket.run_id])
        return self._store.list_tasks(ticket.run_id)

    def _wrong(self, ticket: Ticket, run: Run) -> Iterator[str]:
        if run.status == "cancelled" and ticket.may_be_cancelled:
            return
        if run.status != "succeeded":
            yield f"it is {run.status}: {run.error}"
            return
        try:
            found = essence(self._client.outcome(run))
        except PetioleError as error:
            if not (isinstance(error, NotFoundError) and self._may_be_trimmed(run)):
                yield f"its final state cannot be read: {error}"
            return
        expected = self._oracle.final(ticket.graph, ticket.salts)
        if found != expected:
            yield f"its final state differs: {difference(found, expected)}"

    def _may_be_trimmed(self, run: Run) -> bool:
        """Whether a later run's checkpoints may have taken the place of all of this one's."""
        newest = self._store.newest_run(run.thread_id)
        return self._is_trimmed and newest is not None and newest.run_id != run.run_id

    def _count(self, verdict: Verdict, ticket: Ticket, tasks: list[Task], lines: Counter[str]) -> None:
        """Executions, and how many there would have been undisturbed; tasks that were cancelled count on neither side."""
        plan = self._oracle.plans[ticket.graph]
        for task in tasks:
            if task.kind != "node" or task.status not in ("done", "failed"):
                continue
            if task.status == "done":
                verdict.nodes += 1
                if not lines[task.task_id]:
                    verdict.wrong.append(f"{_name(ticket)}: {_task(task)} is done and was never executed")
            verdict.executions += lines[task.task_id]
            verdict.necessary += 1 + (plan.node(task.node).fails if task.status == "done" else 0)

    # ---------------------------------------------------------------- why it is stuck

    def _explain(self, ticket: Ticket, run: Run, tasks: list[Task]) -> str:
        now = time.time()
        living = {worker.worker_id: worker for worker in self._store.list_workers()}
        texts = [f"{_name(ticket)}: it is {run.status}, {now - ticket.submitted_at:.0f} s after its submit"]
        for task in tasks:
            if task.status in ("done", "cancelled"):
                continue
            worker = living.get(task.holder or "")
            holder = f", holder {worker.name} ({worker.status}) slot {task.slot}" if worker else ""
            due = f", published next in {task.next_publish - now:.1f} s" if task.next_publish else ""
            wakes = f", wakes in {task.run_at - now:.1f} s" if task.run_at else ""
            tried = ", ".join(f"{tried.outcome} by {tried.slot}" for tried in task.attempts)
            texts.append(
                f"    {_task(task)}: {task.status}, attempt {task.attempt} ({tried or 'none before'})"
                f"{holder}{due}{wakes}, published {task.publishes} times again, recovered {task.recovered}"
            )
        active = [
            f"{other.run_id} {other.status}"
            for other in self._client.list_runs(thread_id=ticket.thread_id)
            if other.run_id != run.run_id
        ]
        return "\n".join([*texts, *(f"    other run of the thread: {text}" for text in active)])


def _doubled(run: Run, tasks: list[Task], records: list[Checkpointed], *, is_trimmed: bool) -> Iterator[str]:
    """Outputs committed twice: two done tasks in one place, or a checkpoint of the run beside its line.

    In a trimmed thread the line ends early, and what is older than its end was kept for a reason of its own.
    """
    places = Counter((task.checkpoint_id, task.ns, task.path) for task in tasks if task.status == "done")
    for place, count in places.items():
        if count > 1:
            yield f"{count} outputs at {place}"
    by_id = {record.checkpoint_id: record for record in records}
    line = [*_line(run.checkpoint_id, by_id)]
    if is_trimmed and not line:
        return  # a later run's checkpoints have taken the place of this one's
    oldest = line[-1].seq if is_trimmed else 0
    own = {record.checkpoint_id for record in records if record.run_id == run.run_id and record.seq >= oldest}
    for checkpoint in own - {record.checkpoint_id for record in line}:
        yield f"checkpoint {checkpoint} (step {by_id[checkpoint].step}) is beside the line to {run.checkpoint_id}"
    steps = [record.step for record in line]
    if steps != sorted(set(steps), reverse=True):
        yield f"the steps of its line are {steps}"


def _missing(run: Run, tasks: list[Task], records: list[Checkpointed]) -> Iterator[str]:
    """Outputs never committed: a checkpoint of a run's line says what comes next, and it did not."""
    done = {(task.checkpoint_id, task.path) for task in tasks if task.status == "done"}
    by_id = {record.checkpoint_id: record for record in records}
    own = [record for record in _line(run.checkpoint_id, by_id) if record.run_id == run.run_id]
    if not own:
        yield "it succeeded without a checkpoint"
    for record in own:
        for task in msgspec.json.decode(record.next):
            # The input's own checkpoint is made by the run's start, together with the one after it.
            if task["node"] != START_NODE and (record.checkpoint_id, task["path"]) not in done:
                yield f"{task['path']} after checkpoint {record.checkpoint_id} (step {record.step}) was never committed"


def _line(checkpoint_id: str | None, by_id: dict[str, Checkpointed]) -> Iterator[Checkpointed]:
    """A checkpoint and its ancestors."""
    seen: set[str] = set()
    while (record := by_id.get(checkpoint_id or "")) is not None and record.checkpoint_id not in seen:
        seen.add(record.checkpoint_id)
        yield record
        checkpoint_id = record.parent_id


def _name(ticket: Ticket) -> str:
    return f"run {ticket.run_id} of thread {ticket.thread_id} ({ticket.graph}, {ticket.kind}, {ticket.desk.name})"


def _task(task: Task) -> str:
    return f"task {task.task_id} {task.node}[{task.path}] {task.kind}"
