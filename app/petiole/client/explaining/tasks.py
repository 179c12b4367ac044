"""What a run's open tasks wait for."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from petiole.client.explaining.explanation import Wait
from petiole.client.explaining.roster import Roster, unfitness
from petiole.client.naming import label_of, name_of
from petiole_stores.errors import BrokerError
from petiole_stores.leaves import resumable
from petiole_stores.records import START_PATH, Priority, Run, Task, Worker
from petiole_workers.children import awaited_run
from petiole_workers.failure import parse_failure
from petiole_workers.fitting import Wanted

#: How many workers are named that could not run a task.
SHOWN = 3

Depth = Callable[[str, Priority], int]


def open_waits(run: Run, tasks: Iterable[Task], roster: Roster, depth: Depth | None) -> list[Wait]:
    """A wait for each open task that does not wait for its subgraph, and one for whatever keeps those that are ready from being taken.

    ``depth`` gives the number of messages in a queue of the broker, or raises BrokerError.
    """
    waits: list[Wait] = []
    ready: list[Task] = []
    for task in tasks:
        if task.status == "claimed":
            waits.append(_claimed(run, task, roster))
        elif task.status == "parked" and not is_owner(task) and not awaited_run(task.awaits):
            waits.append(_parked(run, task))
        elif task.status == "ready":
            ready.append(task)
    return [*_unserved(run, ready, roster), *waits, *_published(ready, roster, depth)]


def subgraph_waits(tasks: Sequence[Task]) -> list[Wait]:
    """What the nodes wait for that are graphs."""
    asking = {task.task_id for task in resumable(tasks)}
    inside: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        if task.status not in ("done", "failed", "cancelled"):
            inside[task.ns].append(task)
    return [_below(task, inside) for task in tasks if is_owner(task) and task.task_id not in asking]


def is_owner(task: Task) -> bool:
    """Whether a task waits for its subgraph, as far as its own record tells: one that is interrupted may ask itself."""
    if not task.child or task.run_at is not None or task.awaits:
        return False
    return task.status in ("parked", "interrupted")


def worker_name(worker: Worker | None, task: Task) -> str:
    return worker.name if worker is not None else (task.holder or "a worker that is not known")


def _claimed(run: Run, task: Task, roster: Roster) -> Wait:
    worker = roster.holder(task)
    which = f"{worker_name(worker, task)} (slot {task.slot})" if task.slot else worker_name(worker, task)
    attempt = f", attempt {task.attempt}" if task.attempt > 1 else ""
    if roster.keeps(task):
        assert worker is not None
        stopping = ", which is stopping" if worker.status == "stopping" else ""
        return Wait(
            kind="claimed",
            subject=name_of(task),
            detail=f"{label_of(task)} is run by {which}{stopping}{attempt}; its lease is renewed every few seconds",
            since=task.claimed_at,
            until=worker.expires_at,
        )
    ended = worker.expires_at if worker else None
    return Wait(
        kind="lost",
        subject=name_of(task),
        detail=f"{label_of(task)} was run by {which}{attempt}, which has not been heard of for its whole lease: the next "
        "sweep of a living worker gives it to another",
        since=worker.beat_at if worker else task.claimed_at,
        until=ended,
    )


def _parked(run: Run, task: Task) -> Wait:
    if task.path == START_PATH and task.kind == "advance":
        return Wait(
            kind="start", subject="start", detail="the run is not to start before its time", until=task.run_at
        )
    last = task.attempts[-1] if task.attempts else None
    if task.awaits:
        return Wait(
            kind="signal",
            subject=task.awaits,
            detail=f"{label_of(task)} waits for the signal {task.awaits!r}; it holds no worker meanwhile",
            since=last.ended_at if last else None,
            until=task.run_at,
            command=f"petiole run signal {shlex.quote(run.thread_id)} {shlex.quote(task.awaits)} --payload JSON",
        )
    if last is not None and last.outcome == "retry":
        failure = parse_failure(last.error or task.error)
        why = f" after {failure.type}: {failure.message}".rstrip() if failure else ""
        return Wait(
            kind="retry",
            subject=name_of(task),
            detail=f"{label_of(task)} will be tried again{why} ({_times(task.failures, 'failure')} so far)",
            since=last.ended_at,
            until=task.run_at,
        )
    return Wait(
        kind="timer",
        subject=name_of(task),
        detail=f"{label_of(task)} sleeps; it holds no worker meanwhile",
        since=last.ended_at if last else None,
        until=task.run_at,
    )


def _below(owner: Task, inside: Mapping[str, Sequence[Task]]) -> Wait:
    """What is open in the graph that a node is, down to the nodes that are none; ``inside``: the open tasks by namespace."""
    leaves = _leaves(owner, inside)
    if not leaves:
        state = "which has just ended"
    elif len(leaves) == 1:
        state = f"in which {label_of(leaves[0])} is {leaves[0].status}"
    else:
        state = (
            f"in which {len(leaves)} tasks are open, the first is {label_of(leaves[0])}, {leaves[0].status}"
        )
    return Wait(
        kind="subgraph",
        subject=name_of(owner),
        detail=f"{label_of(owner)} waits for its subgraph, {state}; it holds no worker meanwhile",
        since=owner.attempts[-1].ended_at if owner.attempts else owner.created_at,
    )


def _leaves(owner: Task, inside: Mapping[str, Sequence[Task]]) -> list[Task]:
    below = inside.get(owner.child, ())
    return [leaf for task in below for leaf in (_leaves(task, inside) if is_owner(task) else [task])]


def _unserved(run: Run, ready: Sequence[Task], roster: Roster) -> list[Wait]:
    """What no living worker would take."""
    if not roster.alive:
        return []
    waits = [
        Wait(
            kind="unserved_queue",
            subject=queue,
            detail=f"no living worker consumes queue {queue!r}; those that live consume "
            f"{', '.join(roster.queues()) or 'none'}",
            command=f"petiole worker --queues {queue} --graphs module:attribute",
        )
        for queue in sorted({task.queue for task in ready if not roster.consumers(task.queue)})
    ]
    for task in ready:
        consumers = roster.consumers(task.queue)
        why = [(worker, unfitness(worker, run, task)) for worker in consumers]
        if not consumers or any(reason is None for _, reason in why):
            continue
        waits.append(
            Wait(
                kind="unserved_graph",
                subject=run.graph,
                detail=f"no living worker on queue {task.queue!r} can run {Wanted(run.graph, run.version, task.node)}: "
                + "; ".join(f"with {worker.name}, {reason}" for worker, reason in why[:SHOWN]),
                command=f"petiole worker --queues {task.queue} --graphs module:attribute",
            )
        )
        break
    return waits


def _published(ready: Sequence[Task], roster: Roster, depth: Depth | None) -> list[Wait]:
    """Messages that are out and not yet taken; and what the broker says of their queues."""
    waits = [_message(task) for task in ready]
    lanes: set[tuple[str, Priority]] = {
        (task.queue, "high" if task.recovered else task.priority)
        for task in ready
        if roster.consumers(task.queue)
    }
    if depth is None:
        return waits
    for queue, priority in sorted(lanes):
        try:
            count = depth(queue, priority)
        except BrokerError as error:
            waits.append(
                Wait(
                    kind="broker",
                    subject=queue,
                    detail=f"{error}; nothing is lost: what waits is published when it answers",
                    command="petiole doctor",
                )
            )
            break
        slots = sum(worker.concurrency for worker in roster.consumers(queue))
        if count:
            waits.append(
                Wait(
                    kind="backlog",
                    subject=queue,
                    detail=f"{_times(count, 'message')} of priority {priority} wait in the broker for {_times(slots, 'slot')} on "
                    f"{_times(len(roster.consumers(queue)), 'worker')}",
                    command=f"petiole worker --queues {queue} --graphs module:attribute",
                )
            )
    return waits


def _message(task: Task) -> Wait:
    again = "; it was run before by a worker that was lost" if task.recovered else ""
    return Wait(
        kind="message",
        subject=name_of(task),
        detail=f"{label_of(task)} is ready and its message is published; no worker has taken it yet, and a sweep publishes it "
        f"again if none does{again}",
        since=task.published_at,
        until=task.next_publish,
    )


def _times(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
