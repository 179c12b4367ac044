"""Committing outcomes in a slot's place: of nodes that had to be ended, and of those that an outage has kept from the store."""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.records import FinishAnswer, NewTask, Outcome, TaskRef
from petiole_stores.store import Store


def commit_for(
    store: Store, holder: str, slot: str, ref: TaskRef, outcome: Outcome
) -> tuple[FinishAnswer, list[TaskRef]]:
    """The ledger's answer, and what is to be published.

    What the outcome claims for its slot (the next task, an ``advance``) is given back: the slot doesn't go on with it.
    Safe to call again.
    """
    settled = outcome.settle.tasks if outcome.settle is not None else []
    store.hint(ref.thread_id, [ref.run_id, ref.task_id, outcome.advance_id, *(task.task_id for task in settled)])
    [answer] = store.finish(holder, slot, [outcome])
    if answer.result == "refused":
        return answer, []
    publish = list(answer.publish)
    publish += [_of(task, ref) for task in settled if task.status == "ready"]
    claims = [(task.task_id, task.token) for task in settled if task.token is not None]
    if answer.advance is not None:
        advance = answer.advance.task
        claims.append((advance.task_id, advance.token or ""))
        publish.append(_named(ref, advance.task_id, advance.queue, advance.node))
    if outcome.ending in ("retry", "parked") and not outcome.delay:
        publish.append(ref)
    _give_back(store, holder, slot, claims)
    return answer, publish


def _give_back(store: Store, holder: str, slot: str, claims: Sequence[tuple[str, str]]) -> None:
    """Make claimed tasks ready again. Refused where the claim stands no more, which is as good."""
    if claims:
        store.finish(
            holder, slot, [Outcome(task_id=task_id, token=token, ending="parked") for task_id, token in claims]
        )


def _of(task: NewTask, ref: TaskRef) -> TaskRef:
    return TaskRef(
        task_id=task.task_id, run_id=ref.run_id, thread_id=ref.thread_id, queue=task.queue,
        priority=task.priority, graph=ref.graph, node=task.node, version=ref.version,
    )  # fmt: skip


def _named(ref: TaskRef, task_id: str, queue: str, node: str) -> TaskRef:
    return TaskRef(
        task_id=task_id, run_id=ref.run_id, thread_id=ref.thread_id, queue=queue,
        priority=ref.priority, graph=ref.graph, node=node, version=ref.version,
    )  # fmt: skip
