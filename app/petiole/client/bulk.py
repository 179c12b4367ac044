"""Replaying and cancelling many runs: one refusal doesn't stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import msgspec

from petiole.client.replaying import ask_for_replay
from petiole_stores.records import Answer, Run, TaskRef
from petiole_stores.store import Store
from petiole_workers.children import cancel_children

#: Runs that are cancelled in one transaction.
BATCH = 100

_WORDS = {
    "busy": "another run of its thread is active",
    "head moved": "its thread has gone on since",
    "stale": "it has changed meanwhile",
    "missing": "it is gone",
    "no failed task": "no node of it failed",
}


class Treated(msgspec.Struct, kw_only=True, frozen=True):
    """What became of one run of many."""

    run: Run  #: as it was before
    result: Literal["done", "already", "refused"]
    reason: str = ""  #: why it was refused, in words


def replay_each(
    store: Store, runs: Iterable[Run], publish: Callable[[Sequence[TaskRef]], None]
) -> Iterator[Treated]:
    """Let each failed run go on from its failed nodes."""
    for run in runs:
        answer = ask_for_replay(store, run)
        publish(answer.publish)
        yield _treated(run, answer)


def cancel_each(
    store: Store, runs: Iterable[Run], reason: str, publish: Callable[[Sequence[TaskRef]], None]
) -> Iterator[Treated]:
    """Cancel each run that has not ended."""
    iterator = iter(runs)
    while batch := [*islice(iterator, BATCH)]:
        for run in batch:
            store.hint(run.thread_id, [run.run_id])
        answers = store.cancel([run.run_id for run in batch], reason=reason)
        publish([ref for answer in answers for ref in answer.publish])
        for run, answer in zip(batch, answers, strict=True):
            if answer.result == "committed":
                publish(cancel_children(store, run, reason))
        for run, answer in zip(batch, answers, strict=True):
            yield _treated(run, answer)


def _treated(run: Run, answer: Answer) -> Treated:
    if answer.result != "refused":
        return Treated(run=run, result="done" if answer.result == "committed" else "already")
    reason = answer.reason
    if reason.startswith("run "):
        return Treated(run=run, result="refused", reason=f"it is {reason.removeprefix('run ')}")
    return Treated(run=run, result="refused", reason=_WORDS.get(reason, reason))
