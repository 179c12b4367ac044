"""Records as JSON documents, as ``-o json`` and the HTTP API give them: stable names, ISO times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from petiole.access.keys import Key
from petiole.audit.entry import Entry
from petiole.bulk.job import Job
from petiole.client.answering import Question
from petiole.client.comparing import Difference
from petiole.client.dead_letters import DeadLetter
from petiole.client.explaining import Explanation
from petiole.client.history import HistoryEntry
from petiole.client.logs import LogEntry
from petiole.client.plain import plain as plain
from petiole_stores.records import Attempt, QueueBacklog, Run, Task, Worker
from petiole_stores.serde import Serde
from petiole_workers.children import children_of, parent_of
from petiole_workers.schedules.schedule import Schedule
from petiole_workers.schedules.timing import Timing

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


def log_document(entry: LogEntry) -> Document:
    """A record that a node has logged."""
    return {**msgspec.structs.asdict(entry), "at": iso(entry.at)}


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


def schedule_document(schedule: Schedule, serde: Serde) -> Document:
    """A schedule with its next time and what came of its last one. Durations are in seconds."""
    last = schedule.last
    return {
        "name": schedule.name,
        "status": schedule.status,
        "graph": schedule.graph,
        "input": plain(serde.load_whole(schedule.input)),
        "cron": schedule.timing.cron,
        "timezone": schedule.timing.timezone,
        "every": schedule.timing.every,
        "next_at": iso(schedule.next_at),
        "thread_id": schedule.thread_id,
        "if_busy": schedule.if_busy,
        "tag": schedule.tag,
        "tags": list(schedule.tags),
        "metadata": dict(schedule.metadata),
        "deadline": schedule.deadline,
        "missed": schedule.missed,
        "catch_up": schedule.catch_up,
        "jitter": schedule.jitter,
        "until": iso(schedule.until),
        "max_runs": schedule.max_runs,
        "runs": schedule.fired,
        "last": None
        if last is None
        else {
            "due_at": iso(last.due_at),
            "fired_at": iso(last.fired_at),
            "result": last.result,
            "thread_id": last.thread_id,
            "run_id": last.run_id,
            "error": last.error,
        },
        "created_at": iso(schedule.created_at),
        "updated_at": iso(schedule.updated_at),
    }


def timing_text(timing: Timing) -> str:
    """When a schedule is due, in one line."""
    return f"every {timing.every:g} s" if timing.every is not None else f"{timing.cron} {timing.timezone}"


def key_document(key: Key) -> Document:
    """An API key's record, without what it is proven by."""
    return {
        "key_id": key.key_id,
        "name": key.name,
        "scopes": key.scopes,
        "graphs": key.graphs,
        "namespaces": key.namespaces,
        "created_at": iso(key.created_at),
        "created_by": key.created_by,
        "expires_at": iso(key.expires_at),
        "revoked_at": iso(key.revoked_at),
    }


def audit_document(entry: Entry) -> Document:
    """One entry of the audit log."""
    return {
        "id": entry.id,
        "at": iso(entry.at),
        "actor": entry.actor,
        "via": entry.via,
        "address": entry.address,
        "user_agent": entry.user_agent,
        "action": entry.action,
        "result": entry.result,
        "reason": entry.reason,
        "graph": entry.graph,
        "thread_id": entry.thread_id,
        "run_id": entry.run_id,
        "before": entry.before,
        "after": entry.after,
        "details": entry.details,
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


def job_document(job: Job) -> Document:
    """A bulk job and how far it has come."""
    return {
        "id": job.id,
        "action": job.wanted.action,
        "status": job.status,
        "total": job.total,
        "done": job.done,
        "already": job.already,
        "refused": job.refused,
        "refusals": [msgspec.structs.asdict(one) for one in job.refusals],
        "reason": job.wanted.reason,
        "by": job.by,
        "error": job.error,
        "created_at": iso(job.created_at),
        "beat_at": iso(job.beat_at),
        "ended_at": iso(job.ended_at),
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
