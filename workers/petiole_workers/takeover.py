"""Double texting: a run that takes the place of its thread's active one, on its checkpoints or on those before it.

The new run is stored first, queued behind the active one, which is cancelled then: the ledger starts the new one in that same
transaction, so that no third run comes in between and a client that dies half-way has lost nothing. The same submit again does the
rest.
"""

from __future__ import annotations

from typing import Literal, get_args

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import ConflictError
from petiole_stores.ids import derived_id
from petiole_stores.records import START_PATH, NewRun, Run, SubmitAnswer, TaskRef
from petiole_stores.store import Store
from petiole_workers.active import PAGE, open_runs
from petiole_workers.children import cancel_children

#: What to do with a submit on a thread with an active run.
IfBusy = Literal["reject", "enqueue", "interrupt", "rollback"]
CHOICES: tuple[str, ...] = get_args(IfBusy)

#: How often to look again for the state before the active run, when the thread changes meanwhile.
TRIES = 5
#: Step of the empty checkpoint that stands for a new thread: a run that begins there counts as one on a new thread.
BEFORE_FIRST = -2


def submit_over(store: Store, run: NewRun, if_busy: IfBusy) -> SubmitAnswer:
    """Submit a run that interrupts, or rolls back, whatever is active or queued on its thread.

    A run that is ``already`` there and still queued takes its place now. Raises ConflictError where the state before the active
    run is no longer kept.
    """
    if if_busy == "interrupt":
        run.if_busy = "enqueue"
        [answer] = store.submit([run])
    else:
        answer = _submit_rolled_back(store, run)
    if answer.result != "refused":
        answer.publish = [*answer.publish, *_make_way(store, answer, if_busy)]
    return answer


def _submit_rolled_back(store: Store, run: NewRun) -> SubmitAnswer:
    """Submit the run as if the active one had not been; it stays in the history."""
    for _ in range(TRIES):
        run.if_busy, run.base_id = "reject", None
        [answer] = store.submit([run])
        active = store.get_run(answer.active_run) if answer.active_run else None
        if answer.reason != "busy" or active is None:
            return answer
        run.if_busy, run.base_id = "enqueue", _base_before(store, active, run)
        [answer] = store.submit([run])
        if answer.reason != "no base":  # else it was trimmed just now
            return answer
    return answer


def _base_before(store: Store, active: Run, new: NewRun) -> str | None:
    """The checkpoint that the thread stood at when its active run began; an empty one where that was the thread's first."""
    if active.base_id is not None:  # a fork, or an input that has rolled back another one
        return _newest_of_others(store, active) if active.input is None else active.base_id
    start = next((task for task in store.list_tasks(active.run_id) if task.path == START_PATH), None)
    kept = start is not None and (
        start.checkpoint_id is None or store.get_checkpoint(start.checkpoint_id) is not None
    )
    if start is None or not kept:
        raise ConflictError(
            f"the state of thread {active.thread_id!r} before its active run {active.run_id} is no longer kept "
            "(max_checkpoints): submit with if_busy='interrupt', which goes on from what that run has come to"
        )
    return start.checkpoint_id or _empty(store, new)


def _newest_of_others(store: Store, active: Run) -> str | None:
    """The newest checkpoint that the run has not made: where the thread stood before it forked from another one."""
    before: int | None = None
    while page := store.list_checkpoints(active.thread_id, before=before, limit=PAGE):
        for record in page:
            if record.run_id != active.run_id:
                return record.checkpoint_id
        before = page[-1].seq
    return active.base_id


def _empty(store: Store, new: NewRun) -> str:
    return store.save(
        Checkpoint(
            id=derived_id("rollback", new.run_id),
            thread_id=new.thread_id,
            step=BEFORE_FIRST,
            source="rollback",
        )
    )


def _make_way(store: Store, answer: SubmitAnswer, if_busy: IfBusy) -> list[TaskRef]:
    """Cancel what is ahead of a queued run, the active one last: with it the queued one starts."""
    ahead: list[Run] = []
    for run in open_runs(store, answer.thread_id):
        if run.run_id == answer.run_id:
            break
        ahead.append(run)
    else:
        return []  # it has ended
    reason = f"run {answer.run_id} took its place (if_busy={if_busy})"
    ids = [run.run_id for run in reversed(ahead)]
    store.hint(answer.thread_id, ids)
    answers = store.cancel(ids, reason=reason) if ids else []
    publish = [ref for one in answers for ref in one.publish]
    for run in ahead:
        publish += cancel_children(store, run, reason)
    return publish
