"""The API's documents back into records: the inverse of :mod:`petiole.documents`.

A document leaves out what only workers need (a run's configuration, a task's token and output); those fields have their
defaults. Errors and reasons are JSON text in records, as the ledger has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from petiole.client.answering import Question
from petiole.client.comparing import Difference
from petiole.client.dead_letters import DeadLetter
from petiole.client.explaining import Explanation
from petiole.client.history import HistoryEntry
from petiole.client.logs import LogEntry
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.decoding import converter
from petiole_stores.records import Attempt, QueueBacklog, Run, Task, TaskCount, Worker
from petiole_workers.failure import Failure
from petiole_workers.graph import Interrupt
from petiole_workers.snapshot import StateSnapshot, StateTask

Document = Mapping[str, Any]
#: How a value is read: as it comes, or from the typed document that it is.
Reader = Callable[[Any], Any]

_RUN_TIMES = ("run_at", "deadline", "created_at", "started_at", "ended_at")
_TASK_TIMES = ("run_at", "created_at", "claimed_at", "ended_at")
_WORKER_TIMES = ("started_at", "beat_at", "expires_at")


def run_of(document: Document) -> Run:
    """A run, with its ``input`` where the document has it."""
    told = timed(document, _RUN_TIMES) | {
        "error": _text(document["error"]),
        "reason": _text(document["reason"]),
        "metadata": _text(document["metadata"]) or "{}",
        "seq": document.get("seq", 0),
    }
    told["input"] = _text(told.get("input"))
    return _run(told)


def task_of(document: Document) -> Task:
    """A task with its attempts."""
    attempts = [
        _attempt(timed(one, ("claimed_at", "ended_at")) | {"error": _text(one["error"])})
        for one in document["attempts"]
    ]
    told = timed(document, _TASK_TIMES) | {
        "error": _text(document["error"]),
        "child": document["child"] or "",
        "awaits": document["awaits"] or "",
        "attempts": attempts,
    }
    return _task(told)


def log_of(document: Document) -> LogEntry:
    """A record that a node has logged."""
    return _log(timed(document, ("at",)))


def task_count_of(document: Document) -> TaskCount:
    return _task_count(timed(document, ("created_at", "ended_at")))


def worker_of(document: Document) -> Worker:
    return _worker(timed(document, _WORKER_TIMES))


def backlog_of(document: Document) -> QueueBacklog:
    return _backlog(timed(document, ("oldest",)))


def letter_of(document: Document) -> DeadLetter:
    """A dead letter from its full document, which has the task and the run."""
    task = task_of(document["task"])
    failure = _failure(document["task"]["error"] or {"type": "Unknown", "message": ""})
    return DeadLetter(task=task, run=run_of(document["run"]), failure=failure)


def difference_of(document: Document) -> Difference:
    return _difference(dict(document))


def explanation_of(document: Document) -> Explanation:
    waits = [timed(one, ("since", "until")) | {"command": one["command"] or ""} for one in document["waits"]]
    return _explanation(timed(document, ("now",)) | {"waits": waits})


def entry_of(thread_id: str, document: Document, read: Reader) -> HistoryEntry:
    """A checkpoint with the tasks that came after it."""
    point = None
    if document["checkpoint_id"] is not None:
        point = Checkpoint(
            id=document["checkpoint_id"],
            thread_id=thread_id,
            run_id=document["run_id"],
            ns=document["ns"],
            parent_id=document["parent_id"],
            step=document["step"],
            source=document["source"],
            node_names=document["node_names"],
            next=document["next"],
            state=read(document["state"]),
            metadata=document["metadata"],
            timestamp=datetime.fromisoformat(document["created_at"]),
        )
    return HistoryEntry(checkpoint=point, tasks=[task_of(one) for one in document["tasks"]])


def entries_of_run(entries: Iterable[HistoryEntry], run_id: str) -> Iterator[HistoryEntry]:
    """A history without what other runs have made."""
    for entry in entries:
        tasks = [task for task in entry.tasks if task.run_id == run_id]
        if tasks if entry.checkpoint is None else entry.checkpoint.run_id == run_id:
            yield HistoryEntry(checkpoint=entry.checkpoint, tasks=tasks)


def question_of(document: Document, task: Task, read: Reader) -> Question:
    """What an interrupted task asks."""
    told = document["trouble"] or ""
    value = None if told else read(document["value"])
    return Question(task, document["id"], value, told, document["command"])


def checkpoint_of(document: Document, read: Reader) -> Checkpoint:
    """A checkpoint from its full document."""
    told = dict(document)
    return Checkpoint(
        id=told.pop("checkpoint_id"),
        state=read(told.pop("state")),
        metadata=read(told.pop("metadata")),
        timestamp=datetime.fromisoformat(told.pop("timestamp")),
        **told,
    )


def snapshot_of(document: Document, read: Reader) -> StateSnapshot:
    """A state with its tasks."""
    told = dict(document)
    return StateSnapshot(
        **told
        | {
            "values": read(told["values"]),
            "next": tuple(told["next"]),
            "tasks": tuple(_state_task(one, read) for one in told["tasks"]),
            "interrupts": _asked(told["interrupts"], read),
        }
    )


def _state_task(document: Document, read: Reader) -> StateTask:
    error, inner = document["error"], document["state"]
    return StateTask(
        id=document["id"],
        name=document["name"],
        path=tuple(document["path"]),
        error=None if error is None else _failure(error),
        interrupts=_asked(document["interrupts"], read),
        state=document["config"] if inner is None else snapshot_of(inner, read),
        result=None if document["result"] is None else read(document["result"]),
    )


def _asked(documents: Sequence[Document], read: Reader) -> tuple[Interrupt, ...]:
    return tuple(Interrupt(value=read(one["value"]), id=one["id"]) for one in documents)


def timed(document: Document, names: tuple[str, ...]) -> dict[str, Any]:
    """The document with these ISO times as seconds since the epoch."""
    return dict(document) | {
        name: None if document.get(name) is None else datetime.fromisoformat(document[name]).timestamp()
        for name in names
    }


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


_run = converter(Run)
_task = converter(Task)
_attempt = converter(Attempt)
_log = converter(LogEntry)
_task_count = converter(TaskCount)
_worker = converter(Worker)
_backlog = converter(QueueBacklog)
_failure = converter(Failure)
_difference = converter(Difference)
_explanation = converter(Explanation)
