"""Records as the JSON documents that ``-o json`` writes: stable names, ISO times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from petiole.client.answering import Question
from petiole.client.comparing import Difference
from petiole.client.dead_letters import DeadLetter
from petiole.client.explaining import Explanation
from petiole.client.history import HistoryEntry
from petiole.client.plain import plain as plain
from petiole_stores.records import Attempt, QueueBacklog, Run, Task, Worker
from petiole_workers.children import children_of, parent_of

Document = dict[str, Any]


def run_document(run: Run) -> Document:
    """A run without its input."""
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "graph": run.graph,
        "version": run.version,
        "status": run.status,
        "tags": run.tags,
        "metadata": _json(run.metadata),
        "idempotency_key": run.idempotency_key,
        "error": _json(run.error),
        "reason": _json(run.reason),
        "checkpoint_id": run.checkpoint_id,
        "base_id": run.base_id,
        "replays": run.replays,
        "run_at": iso(run.run_at),
        "deadline": iso(run.deadline),
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
    }


def family_document(run: Run, tasks: Sequence[Task]) -> Document:
    """The run whose node has submitted a run, and those that nodes of it have submitted."""
    parent = parent_of(run)
    return {
        "parent": None
        if parent is None
        else {
            "thread_id": parent.thread_id,
            "run_id": parent.run_id,
            "task_id": parent.task_id,
            "node": parent.node,
            "waits": parent.waits,
        },
        "children": [
            {"thread_id": it.thread_id, "run_id": it.run_id, "graph": it.graph, "waited": it.waited}
            for it in children_of(tasks)
        ],
    }


def task_document(task: Task, question: Question | None = None) -> Document:
    """A task with its earlier attempts and what it asks."""
    return {
        "task_id": task.task_id,
        "run_id": task.run_id,
        "thread_id": task.thread_id,
        "checkpoint_id": task.checkpoint_id,
        "ns": task.ns,
        "child": task.child or None,
        "awaits": task.awaits or None,
        "path": task.path,
        "kind": task.kind,
        "node": task.node,
        "status": task.status,
        "queue": task.queue,
        "priority": task.priority,
        "attempt": task.attempt,
        "failures": task.failures,
        "crashes": task.crashes,
        "recovered": task.recovered,
        "replaced": task.replaced,
        "holder": task.holder,
        "slot": task.slot,
        "error": _json(task.error),
        "run_at": iso(task.run_at),
        "created_at": iso(task.created_at),
        "claimed_at": iso(task.claimed_at),
        "ended_at": iso(task.ended_at),
        "attempts": [_attempt(attempt) for attempt in task.attempts],
        "interrupt": question_document(question) if question else None,
    }


def entry_document(entry: HistoryEntry, questions: Mapping[str, Question]) -> Document:
    """A checkpoint with the tasks that came after it; its fields are null before a thread's first one.

    ``questions`` are what tasks ask, by their ids.
    """
    point = entry.checkpoint
    return {
        "checkpoint_id": point.id if point else None,
        "parent_id": point.parent_id if point else None,
        "run_id": point.run_id if point else None,
        "ns": point.ns if point else "",
        "step": point.step if point else None,
        "source": point.source if point else None,
        "node_names": list(point.node_names) if point else [],
        "next": list(point.next) if point else [],
        "state": plain(point.state) if point else None,
        "metadata": plain(point.metadata) if point else {},
        "created_at": iso(point.timestamp.timestamp()) if point else None,
        "tasks": [task_document(task, questions.get(task.task_id)) for task in entry.tasks],
    }


def worker_document(worker: Worker) -> Document:
    return {
        "worker_id": worker.worker_id,
        "name": worker.name,
        "status": worker.status,
        "host": worker.host,
        "pid": worker.pid,
        "pool": worker.pool,
        "concurrency": worker.concurrency,
        "queues": worker.queues,
        "graphs": worker.graphs,
        "lease": worker.lease,
        "stats": worker.stats,
        "started_at": iso(worker.started_at),
        "beat_at": iso(worker.beat_at),
        "expires_at": iso(worker.expires_at),
    }


def backlog_document(backlog: QueueBacklog) -> Document:
    return {
        "queue": backlog.queue,
        "priority": backlog.priority,
        "ready": backlog.ready,
        "due": backlog.due,
        "oldest": iso(backlog.oldest),
    }


def letter_document(letter: DeadLetter) -> Document:
    """A task that failed for good."""
    task = letter.task
    return {
        "task_id": task.task_id,
        "thread_id": task.thread_id,
        "run_id": task.run_id,
        "graph": letter.run.graph,
        "ns": task.ns,
        "node": task.node,
        "error_type": letter.failure.type,
        "message": letter.failure.message,
        "poison": letter.is_poison,
        "attempts": letter.attempts,
        "crashes": task.crashes,
        "failed_at": iso(task.ended_at),
    }


def question_document(question: Question) -> Document:
    """An interrupted task and what it asks; ``id`` is null where it asks nothing."""
    task = question.task
    return {
        "id": question.id,
        "node": task.node,
        "ns": task.ns,
        "task_id": task.task_id,
        "run_id": task.run_id,
        "value": plain(question.value),
        "trouble": question.trouble or None,
        "since": iso(task.ended_at or task.created_at),
        "command": question.command,
    }


def difference_document(one: Difference) -> Document:
    """One part that is not the same in two states."""
    return {"path": one.path, "kind": one.kind, "before": one.before, "after": one.after}


def explanation_document(found: Explanation) -> Document:
    """What a run waits for."""
    step = found.superstep
    return {
        "thread_id": found.thread_id,
        "run_id": found.run_id,
        "graph": found.graph,
        "status": found.status,
        "summary": found.summary,
        "superstep": {"total": step.total, "open": step.open} if step else None,
        "waits": [
            {
                "kind": wait.kind,
                "subject": wait.subject,
                "detail": wait.detail,
                "since": iso(wait.since),
                "until": iso(wait.until),
                "command": wait.command or None,
            }
            for wait in found.waits
        ],
        "now": iso(found.now),
    }


def iso(at: float | None) -> str | None:
    """Seconds since the epoch as an ISO 8601 time in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _json(text: str | None) -> Any:
    return msgspec.json.decode(text) if text else None


def _attempt(attempt: Attempt) -> Document:
    return {
        "attempt": attempt.attempt,
        "outcome": attempt.outcome,
        "holder": attempt.holder,
        "slot": attempt.slot,
        "error": _json(attempt.error),
        "claimed_at": iso(attempt.claimed_at),
        "ended_at": iso(attempt.ended_at),
    }
