"""What a replay means for a run: going on itself from its failed tasks, or a new run from a checkpoint."""

from __future__ import annotations

import msgspec

from petiole_stores.errors import ConflictError, NotFoundError, ThreadBusyError
from petiole_stores.ids import derived_id
from petiole_stores.leaves import replaceable
from petiole_stores.records import Answer, Checkpointed, Run, Task
from petiole_stores.store import Store

PAGE = 100


def replay_failed(store: Store, run: Run) -> Answer:
    """Put new tasks in place of the failed ones. Raises ConflictError where there is nothing to replay."""
    answer = ask_for_replay(store, run)
    if answer.result == "refused":
        raise _refusal(run, answer)
    return answer


def ask_for_replay(store: Store, run: Run) -> Answer:
    """The ledger's answer to a replay of the run's failed tasks; ``no failed task`` where there is none to replace.

    The new ids derive from the old ones and the count of replays, so that asking twice replays once.
    """
    if run.status != "failed":
        return Answer(run_id=run.run_id, result="refused", reason=f"run {run.status}")
    failed = replaceable(store.list_tasks(run.run_id))
    if not failed:
        return Answer(run_id=run.run_id, result="refused", reason="no failed task")
    return store.replay(run.run_id, [(task.task_id, _successor(run, task)) for task in failed])


def find_base(store: Store, thread_id: str, *, checkpoint: str | None, from_node: str | None) -> Checkpointed:
    """The checkpoint to go on from: the named one, else the newest whose next nodes include ``from_node``."""
    if checkpoint is not None:
        found = store.get_checkpoint(checkpoint)
        if found is None or found.thread_id != thread_id or found.ns:
            raise NotFoundError(
                f"checkpoint {checkpoint!r} is not one of thread {thread_id!r}: `petiole run history {thread_id}` lists them"
            )
        if from_node is not None and from_node not in next_nodes(found):
            raise ConflictError(f"after checkpoint {checkpoint} come {_names(found)}, not {from_node!r}")
    else:
        found = _newest_before(store, thread_id, from_node or "")
    if not next_nodes(found):
        raise ConflictError(
            f"checkpoint {found.checkpoint_id} is the end of its run: no node comes next; name an earlier one"
        )
    return found


def next_nodes(record: Checkpointed) -> list[str]:
    """The names of the nodes that come after a checkpoint."""
    return [task["node"] for task in msgspec.json.decode(record.next)]


def _newest_before(store: Store, thread_id: str, node: str) -> Checkpointed:
    before: int | None = None
    seen: set[str] = set()
    while page := store.list_checkpoints(thread_id, before=before, limit=PAGE):
        for record in page:
            if node in next_nodes(record):
                return record
            seen.update(next_nodes(record))
        before = page[-1].seq
    known = ", ".join(sorted(seen)) or "none"
    raise NotFoundError(
        f"thread {thread_id!r} has no checkpoint before node {node!r}; its nodes are: {known}"
    )


def _successor(run: Run, task: Task) -> str:
    return derived_id("replay", run.run_id, str(run.replays), task.task_id)


def _refusal(run: Run, answer: Answer) -> ConflictError:
    if answer.reason.startswith("run "):
        return ConflictError(_not_failed(run, answer.reason.removeprefix("run ")))
    if answer.reason == "busy":
        return ThreadBusyError(
            f"thread {run.thread_id!r} has another active run: wait for it or cancel it, then replay run {run.run_id}"
        )
    elsewhere = (
        f"start a new run from one of its checkpoints (petiole run replay {run.thread_id} --checkpoint ID)"
    )
    if answer.reason == "head moved":
        return ConflictError(
            f"thread {run.thread_id!r} has gone on since run {run.run_id} failed: {elsewhere}"
        )
    if answer.reason == "no failed task":
        return ConflictError(
            f"run {run.run_id} of thread {run.thread_id!r} failed without a failed task: {elsewhere}"
        )
    return ConflictError(
        f"run {run.run_id} cannot be replayed ({answer.reason}): look at it again, it has changed"
    )


def _not_failed(run: Run, status: str) -> str:
    where = f"run {run.run_id} of thread {run.thread_id!r}"
    if status in ("succeeded", "cancelled"):
        return (
            f"{where} is {status}, no node of it failed: to run part of it again, name a checkpoint (--checkpoint ID) "
            "or a node (--from NODE) to start from"
        )
    if status == "interrupted":
        return f"{where} is interrupted, not failed: `petiole run resume {run.thread_id}` lets it go on"
    return f"{where} is {status}: a replay is for a run that has failed"


def _names(record: Checkpointed) -> str:
    return ", ".join(map(repr, next_nodes(record))) or "no nodes"
