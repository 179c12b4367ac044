"""What a ledger's refusal means for who asked: the error that names the run, its state, and what to do."""

from __future__ import annotations

from petiole.client.reasons import reason_of
from petiole_stores.errors import ConflictError
from petiole_stores.records import SETTLED, Answer, Run
from petiole_stores.store import Store
from petiole_workers.active import active_run


def check_cancelled(run: Run, answer: Answer) -> None:
    """Raise ConflictError for a cancel that was refused."""
    if answer.result == "refused":
        raise ConflictError(
            f"{_named(run)} has ended before ({_status(answer, run)}): nothing is left to cancel"
        )


def check_resumed(run: Run, answer: Answer) -> None:
    """Raise ConflictError for a resume that was refused."""
    if answer.result != "refused":
        return
    status = _status(answer, run)
    remedy = "only an interrupted run can be resumed"
    if status == "paused":
        remedy = f"`petiole run unpause {run.thread_id}` lets it go on"
    elif status == "failed":
        remedy = f"`petiole run replay {run.thread_id}` lets it go on from its failed nodes"
    raise ConflictError(f"{_named(run)} is {status}: {remedy}")


def check_paused(store: Store, run: Run, answer: Answer) -> None:
    """Raise ConflictError for a pause that was refused."""
    if answer.result != "refused":
        return
    if answer.reason == "not active":
        ahead = active_run(store, run.thread_id)
        which = f"run {ahead.run_id}" if ahead else "another run"
        raise ConflictError(
            f"{_named(run)} is queued behind {which} and starts nothing: pause that one (--run), or cancel this one"
        )
    status = _status(answer, run)
    if status == "interrupted":
        raise ConflictError(
            f"{_named(run)} is interrupted: it starts nothing until `petiole run resume {run.thread_id}`"
        )
    raise ConflictError(f"{_named(run)} is {status}: only a run that has not ended can be paused")


def check_unpaused(store: Store, run: Run, answer: Answer) -> None:
    """Raise ConflictError for an unpause that was refused."""
    if answer.result != "refused":
        return
    status = _status(answer, run)
    if status == "blocked":
        why = reason_of(store.get_run(run.run_id) or run)
        raise ConflictError(
            f"{_named(run)} is blocked, not paused ({why}): `petiole run explain {run.thread_id}` says what unblocks it"
        )
    if status == "interrupted":
        raise ConflictError(
            f"{_named(run)} is interrupted, not paused: `petiole run resume {run.thread_id}` lets it go on"
        )
    over = "it has ended" if status in SETTLED else "it is not held back"
    raise ConflictError(f"{_named(run)} is {status}, not paused: {over}")


def _named(run: Run) -> str:
    return f"run {run.run_id} of thread {run.thread_id!r}"


def _status(answer: Answer, run: Run) -> str:
    """The status that the ledger refused for; it may have changed since the run was read."""
    return answer.reason.removeprefix("run ") if answer.reason.startswith("run ") else run.status
