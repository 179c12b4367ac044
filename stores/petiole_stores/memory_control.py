"""The memory store's runs: starting, ending, and what people and time decide about them.

What workers do is in :mod:`petiole_stores.memory`, what people put in its place in
:mod:`petiole_stores.memory_amending`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from petiole_stores.leaves import replaceable, resumable
from petiole_stores.memory_tables import Head, store_time
from petiole_stores.memory_upkeep import MemoryUpkeep
from petiole_stores.records import (
    DEADLINE_OVER,
    ENDED,
    RUNNABLE,
    SETTLED,
    Answer,
    NewTask,
    Resumption,
    Run,
    Task,
    TaskRef,
)


class MemoryControl(MemoryUpkeep):
    """Runs are activated, ended, cancelled, replayed, resumed, held back and expire."""

    # ---------------------------------------------------------------- start and end

    def _activate(self, run: Run, now: float) -> None:
        """Make ``run`` its thread's active one: its start task is ready, or waits for ``run_at``."""
        thread = self._threads[run.thread_id]
        thread.active_run = run.run_id
        head = thread.heads.setdefault("", Head())
        if run.base_id is not None:
            head.checkpoint_id = run.base_id
        head.run_id, head.open, head.width = run.run_id, 1, 1
        start = self._tasks[self._run_tasks[run.run_id][0]]
        start.checkpoint_id = head.checkpoint_id
        if run.run_at is not None and run.run_at > now:
            run.status, start.run_at = "waiting", run.run_at
        else:
            run.status = "queued"
            self._make_ready(start, now)

    def _end_run(self, run: Run, status: str, now: float, error: str | None = None) -> list[TaskRef]:
        """Settle a run; if it was active, the thread's next queued run starts. Returns what to publish."""
        run.status, run.ended_at, run.error = status, now, error  # type: ignore[assignment]
        run.reason = None
        thread = self._threads[run.thread_id]
        if thread.active_run != run.run_id:
            return []
        thread.active_run = None
        queued = [r for r in self._runs.values() if r.thread_id == run.thread_id and r.status == "queued"]
        if not queued:
            return []
        chosen = min(queued, key=lambda r: r.seq)
        self._activate(chosen, now)
        return self._ready_refs(chosen.run_id)

    def _verdict(self, task: Task) -> tuple[str, str | None]:
        """How the superstep of ``task``, in which nothing is open, has ended (``done``: all went well), and its error."""
        ended = [t for t in self._superstep(task) if not t.replaced]
        failed = sorted((t for t in ended if t.status == "failed"), key=lambda t: t.path)
        if failed:
            return "failed", failed[0].error
        statuses = {t.status for t in ended}
        return next((status for status in ("interrupted", "cancelled") if status in statuses), "done"), None

    def _end_namespace(
        self, run: Run, ns: str, ending: str, now: float, error: str | None = None
    ) -> list[TaskRef]:
        """What becomes of the run, or of the task that owns the namespace, which succeeded, failed, was interrupted or
        cancelled."""
        owner = self._owner(run.thread_id, ns)
        if owner is None:
            if ending != "interrupted":
                return self._end_run(run, ending, now, error)
            run.status, run.reason = "interrupted", None
            return []
        if ending == "succeeded":
            self._make_ready(owner, now)
            return [self._ref(owner)]
        owner.status, owner.ended_at, owner.error = ending, now, error  # type: ignore[assignment]
        head = self._threads[run.thread_id].heads[owner.ns]
        head.open -= 1
        if head.open > 0:
            return []
        above, error = self._verdict(owner)
        return self._end_namespace(run, owner.ns, above, now, error)

    def _reopen(self, task: Task) -> None:
        """Count a task that goes on, and let its owner wait for it again."""
        self._threads[task.thread_id].heads[task.ns].open += 1
        owner = self._owner(task.thread_id, task.ns)
        if owner is not None:
            self._wait_again(owner)

    def _wait_again(self, owner: Task) -> None:
        if owner.status in ENDED:
            owner.status, owner.ended_at, owner.error, owner.run_at = "parked", None, None, None
            self._reopen(owner)

    # ---------------------------------------------------------------- cancel, replay, resume

    def _cancel(self, run_ids: Sequence[str], reason: str, now: float | None) -> list[Answer]:
        with self._lock:
            at = store_time(now)
            return [self._cancel_one(run_id, reason, at) for run_id in run_ids]

    def _cancel_one(self, run_id: str, reason: str, now: float) -> Answer:
        run = self._runs.get(run_id)
        if run is None:
            return Answer(run_id=run_id, result="refused", reason="missing")
        if run.status in SETTLED:
            if run.status == "cancelled":
                return Answer(run_id=run_id, result="already")
            return Answer(run_id=run_id, result="refused", reason=f"run {run.status}")
        for task in self._tasks_of(run_id):
            if task.status not in ENDED or task.status == "interrupted":
                task.status, task.ended_at, task.next_publish, task.run_at = "cancelled", now, None, None
        for head in self._threads[run.thread_id].heads.values():
            if head.run_id == run_id:
                head.open = 0
        error = json.dumps({"type": "Cancelled", "message": reason}) if reason else None
        return Answer(run_id=run_id, result="committed", publish=self._end_run(run, "cancelled", now, error))

    def _replay(self, run_id: str, replacements: Sequence[tuple[str, str]], now: float | None) -> Answer:
        with self._lock:
            at = store_time(now)
            run = self._runs.get(run_id)
            answer = Answer(run_id=run_id, result="refused")
            if run is None:
                answer.reason = "missing"
                return answer
            if replacements and replacements[0][1] in self._tasks:
                answer.result = "already"
                return answer
            thread = self._threads[run.thread_id]
            tasks = self._tasks_of(run_id)
            failed = replaceable(tasks)
            moved = any(
                (head := thread.heads.get(t.ns)) is None
                or head.run_id != run_id
                or head.checkpoint_id != t.checkpoint_id
                for t in tasks
                if t.status == "failed" and not t.replaced
            )
            if run.status != "failed":
                answer.reason = f"run {run.status}"
            elif thread.active_run is not None:
                answer.reason = "busy"
            elif moved:
                answer.reason = "head moved"
            elif not failed or {t.task_id for t in failed} != {old for old, _ in replacements}:
                answer.reason = "stale"
            if answer.reason:
                return answer
            for old_id, new_id in replacements:
                old = self._tasks[old_id]
                old.replaced = True
                new = NewTask(
                    task_id=new_id, path=old.path, node=old.node, kind=old.kind, ns=old.ns, queue=old.queue,
                    priority=old.priority, arg=old.arg, timeout=old.timeout,
                )  # fmt: skip
                made = self._insert_task(new, run, old.checkpoint_id, at, old.progress)
                if old.child:
                    made.child = old.child
                    below = thread.heads.get(old.child)
                    if below is not None and below.owner == old_id:
                        below.owner = new_id
                self._reopen(made)
            run.status, run.ended_at, run.error, run.deadline = "queued", None, None, None
            run.replays += 1
            thread.active_run = run_id
            answer.result, answer.publish = "committed", self._ready_refs(run_id)
            return answer

    def _resume(self, run_id: str, answers: Sequence[Resumption] | None, now: float | None) -> Answer:
        with self._lock:
            at = store_time(now)
            run = self._runs.get(run_id)
            if run is None:
                return Answer(run_id=run_id, result="refused", reason="missing")
            if run.status in RUNNABLE and answers is None:
                return Answer(run_id=run_id, result="already")
            if run.status not in RUNNABLE and run.status != "interrupted":
                return Answer(run_id=run_id, result="refused", reason=f"run {run.status}")
            tasks = {task.task_id: task for task in self._tasks_of(run_id)}
            waiting = {task.task_id: task for task in resumable(tasks.values())}
            if answers is None:
                answers = [Resumption(task_id=t.task_id, token=t.done_token or "") for t in waiting.values()]
            named = [tasks.get(answer.task_id) for answer in answers]
            if any(t is None or (t.status == "interrupted" and t.task_id not in waiting) for t in named):
                return Answer(run_id=run_id, result="refused", reason="stale")
            resumed = False
            for answer in answers:
                resumed |= self._resume_task(self._tasks[answer.task_id], answer, at)
            if not resumed:
                return Answer(run_id=run_id, result="already")
            if run.status == "interrupted":
                run.status = "running"
            return Answer(run_id=run_id, result="committed", publish=self._ready_refs(run_id))

    def _resume_task(self, task: Task, answer: Resumption, now: float) -> bool:
        if task.status != "interrupted" or (task.done_token or "") != answer.token:
            return False
        if answer.progress is not None:
            task.progress = answer.progress
        task.ended_at = task.token = task.holder = task.slot = None
        self._make_ready(task, now)
        self._reopen(task)
        return True

    # ---------------------------------------------------------------- held back

    def _hold_back(
        self, run_ids: Sequence[str], status: str, kind: str, reason: str, now: float | None
    ) -> list[Answer]:
        with self._lock:
            return [self._hold_back_one(run_id, status, kind, reason) for run_id in run_ids]

    def _hold_back_one(self, run_id: str, status: str, kind: str, reason: str) -> Answer:
        run = self._runs.get(run_id)
        answer = Answer(run_id=run_id, result="refused")
        if run is None:
            answer.reason = "missing"
        elif run.status == status:
            answer.result = "already"
        elif run.status not in ("queued", "running", "waiting") and (run.status, status) != (
            "blocked",
            "paused",
        ):
            answer.reason = f"run {run.status}"
        elif self._threads[run.thread_id].active_run != run_id:
            answer.reason = "not active"
        else:
            answer.result = "committed"
            run.status = status  # type: ignore[assignment]
            run.reason = json.dumps({"type": kind, "message": reason})
        return answer

    def _let_go(self, run_ids: Sequence[str], status: str, now: float | None) -> list[Answer]:
        with self._lock:
            at = store_time(now)
            return [self._let_go_one(run_id, status, at) for run_id in run_ids]

    def _let_go_one(self, run_id: str, status: str, now: float) -> Answer:
        run = self._runs.get(run_id)
        if run is None:
            return Answer(run_id=run_id, result="refused", reason="missing")
        if run.status in ("queued", "running", "waiting"):
            return Answer(run_id=run_id, result="already")
        if run.status != status:
            return Answer(run_id=run_id, result="refused", reason=f"run {run.status}")
        tasks = self._tasks_of(run_id)
        if run.started_at is not None:
            run.status = "running"
        else:
            asleep = tasks[0].status == "parked" and tasks[0].run_at is not None
            run.status = "waiting" if asleep else "queued"
        run.reason = None
        for task in tasks:
            if task.status == "ready":
                task.next_publish = now
        return Answer(run_id=run_id, result="committed", publish=self._ready_refs(run_id))

    # ---------------------------------------------------------------- deadlines

    def _overdue(self, now: float) -> list[str]:
        """Fail the runs whose deadline is over, with their open tasks."""
        late = [
            run
            for run in self._runs.values()
            if run.deadline is not None and run.deadline <= now and run.status not in SETTLED
        ]
        for run in sorted(late, key=lambda run: run.run_id):
            if run.status in SETTLED:
                continue
            error = json.dumps({"type": "DeadlineExceeded", "message": DEADLINE_OVER})
            for task in self._tasks_of(run.run_id):
                if task.status not in ENDED or task.status == "interrupted":
                    task.status, task.ended_at, task.next_publish, task.run_at = "failed", now, None, None
                    task.token, task.error = None, error
            for head in self._threads[run.thread_id].heads.values():
                if head.run_id == run.run_id:
                    head.open = 0
            self._end_run(run, "failed", now, error)
        return [run.run_id for run in late]
