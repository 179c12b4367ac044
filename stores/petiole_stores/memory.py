"""The memory store: the whole contract in plain Python, for tests and ``graph.invoke`` in one process.

A peer of the real stores and the model that they are tested against (the differential test): read it to know what an
operation does. Everything happens under one lock; records are copied on the way in and out. Here are the transitions of
the protocol by workers; what people and time decide is in :mod:`petiole_stores.memory_control`, the rows that they
change are in :mod:`petiole_stores.memory_tables`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from msgspec.structs import replace

from petiole_stores.memory_amending import MemoryAmending
from petiole_stores.memory_events import MemoryEvents
from petiole_stores.memory_items import MemoryItems
from petiole_stores.memory_reads import MemoryReads
from petiole_stores.memory_tables import RUN_FIELDS, Head, Thread, copy_task, store_time
from petiole_stores.records import (
    ADVANCE_PATH,
    HELD_BACK,
    RUNNABLE,
    SETTLED,
    BeatAnswer,
    Claim,
    ClaimAnswer,
    FinishAnswer,
    NewRun,
    NewTask,
    Outcome,
    Output,
    QueueBacklog,
    Run,
    Settle,
    SubmitAnswer,
    SweepReport,
    Task,
    TaskRef,
    Worker,
)

WORKERS_KEPT = 7 * 86400.0


class MemoryStore(MemoryAmending, MemoryReads, MemoryItems, MemoryEvents):
    """``memory://``: everything in this process, gone with it; refused where several processes must share a store."""

    # ---------------------------------------------------------------- submit

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        with self._lock:
            at = store_time(now)
            return [self._submit_one(run, at) for run in runs]

    def _submit_one(self, new: NewRun, now: float) -> SubmitAnswer:
        known = self._runs.get(new.run_id)
        if known is not None:
            same = known.request_digest == new.request_digest
            return SubmitAnswer(
                run_id=known.run_id,
                thread_id=known.thread_id,
                result="already" if same else "refused",
                reason="" if same else "conflict",
                publish=self._ready_refs(known.run_id) if same else [],
            )
        thread = self._threads.get(new.thread_id)
        active = thread.active_run if thread else None
        answer = SubmitAnswer(run_id=new.run_id, thread_id=new.thread_id, result="refused")
        if new.base_id is not None:
            base = self._checkpoints.get(new.base_id)
            if base is None or base.thread_id != new.thread_id or base.ns:
                answer.reason = "no base"
                return answer
        if active is not None and new.if_busy == "reject":
            answer.reason, answer.active_run = "busy", active
            return answer
        thread = self._threads.setdefault(new.thread_id, Thread())
        self._seq += 1
        run_at = new.run_at if new.delay is None else now + new.delay
        run = Run(
            **{name: getattr(new, name) for name in RUN_FIELDS},
            tags=list(new.tags),
            status="queued",
            run_at=run_at,
            deadline=new.deadline if new.lifetime is None else max(now, run_at or now) + new.lifetime,
            created_at=now,
            seq=self._seq,
        )
        self._runs[run.run_id] = run
        self._put_blobs(thread, new.blobs)
        start = self._insert_task(new.start, run, None, now)
        start.status, start.next_publish, start.published_at = "parked", None, None
        answer.result = "committed"
        if active is None:
            self._activate(run, now)
            answer.publish = self._ready_refs(run.run_id)
        return answer

    # ---------------------------------------------------------------- claim

    def _claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        holds: Sequence[str],
        published: Sequence[str],
        now: float | None,
    ) -> list[ClaimAnswer]:
        with self._lock:
            at = store_time(now)
            worker = self._workers.get(holder)
            status = worker.status if worker else "unknown"
            if status not in ("alive", "stopping"):
                return [
                    ClaimAnswer(task_id=task_id, result="refused", reason=f"holder {status}")
                    for task_id, _ in wants
                ]
            kept = {*holds, *(token for _, token in wants)}
            for task in self._claims_of(holder, {slot}):
                if task.status == "claimed" and task.token not in kept:
                    self._log_attempt(task, "lost", at)
                    self._give_back(task, at)
            answers = [
                self._claim_one(holder, slot, task_id, token, index == 0, at)
                for index, (task_id, token) in enumerate(wants)
            ]
            for task_id in published:
                ready = self._tasks.get(task_id)
                if ready is not None and ready.status == "ready" and ready.publishes == 0:
                    self._push_publish(ready, at)
            return answers

    def _claim_one(
        self, holder: str, slot: str, task_id: str, token: str, first: bool, now: float
    ) -> ClaimAnswer:
        task = self._tasks.get(task_id)
        answer = ClaimAnswer(task_id=task_id, result="refused", reason="missing")
        if task is None:
            return answer
        run = self._runs[task.run_id]
        if run.status not in RUNNABLE:
            answer.reason = f"run {run.status}"
        elif task.status == "claimed" and task.token == token:
            return ClaimAnswer(task_id=task_id, result="already", claim=self._claim_record(task))
        elif task.status != "ready":
            answer.reason = task.status
        else:
            if task.token is not None:
                self._log_attempt(task, "lost", now)
            task.status, task.token, task.holder, task.slot = "claimed", token, holder, slot
            task.attempt += 1
            self._held.setdefault(holder, set()).add(task_id)
            task.started, task.claimed_at, task.next_publish = first, now, None
            task.awaits, task.woken = "", False
            if run.status == "queued":
                run.status = "running"
                run.started_at = run.started_at or now
            return ClaimAnswer(task_id=task_id, result="committed", claim=self._claim_record(task))
        return answer

    def _claim_record(self, task: Task) -> Claim:
        head = self._threads[task.thread_id].heads[task.ns]
        outputs = []
        if task.kind == "advance":
            done = [t for t in self._superstep(task) if t.kind == "node" and t.status == "done"]
            outputs = [
                Output(path=t.path, node=t.node, output=t.output or "null")
                for t in sorted(done, key=lambda t: t.path)
            ]
        base = self._checkpoints.get(task.checkpoint_id) if task.checkpoint_id else None
        return Claim(
            task=copy_task(task),
            run=replace(self._runs[task.run_id]),
            base=base,
            width=head.width,
            outputs=outputs,
            child=self._head(task.thread_id, task.child) if task.child else None,
        )

    # ---------------------------------------------------------------- finish

    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]:
        with self._lock:
            at = store_time(now)
            self._batch = {outcome.task_id for outcome in outcomes}
            return [self._finish_one(holder, slot, outcome, at) for outcome in outcomes]

    def _finish_one(self, holder: str, slot: str, outcome: Outcome, now: float) -> FinishAnswer:
        answer = FinishAnswer(task_id=outcome.task_id, result="refused", reason="missing")
        task = self._tasks.get(outcome.task_id)
        if task is None:
            return answer
        run = self._runs[task.run_id]
        thread = self._threads[task.thread_id]
        head = thread.heads.get(task.ns, Head())
        answer.open, answer.run_status = head.open, run.status
        if task.done_token == outcome.token:
            advance = self._tasks.get(outcome.advance_id)
            if advance and advance.status == "claimed" and advance.token == outcome.advance_token:
                answer.advance = self._claim_record(advance)
            answer.result, answer.reason = "already", ""
            return answer
        answer.reason = self._refusal(outcome, task, run, head)
        if answer.reason:
            return answer
        answer.result = "committed"
        self._put_blobs(thread, outcome.blobs)
        if outcome.ending in ("retry", "parked"):
            self._put_off(task, outcome, now)
            if outcome.nest is not None:
                answer.publish = self._nest(holder, slot, task, run, outcome.nest, now)
                answer.open, answer.run_status = head.open, run.status
            return answer
        task.status, task.ended_at, task.done_token = outcome.ending, now, outcome.token  # type: ignore[assignment]
        task.output, task.error = outcome.output, outcome.error
        if outcome.progress is not None and outcome.ending == "interrupted":
            task.progress = outcome.progress
        head.open -= 1
        if outcome.settle is not None:
            answer.publish = self._settle(holder, slot, run, task.ns, outcome.settle, now)
        elif head.open == 0:
            ending, error = self._verdict(task)
            if ending != "done":
                answer.publish = self._end_namespace(run, task.ns, ending, now, error)
            else:
                advance = self._insert_advance(task, run, outcome, now)
                advance.status, advance.token, advance.attempt = "claimed", outcome.advance_token, 1
                advance.holder, advance.slot, advance.claimed_at, advance.started = holder, slot, now, True
                advance.next_publish = advance.published_at = None
                self._held.setdefault(holder, set()).add(advance.task_id)
                head.open = 1
                answer.advance = self._claim_record(advance)
        answer.open, answer.run_status = head.open, run.status
        return answer

    def _refusal(self, outcome: Outcome, task: Task, run: Run, head: Head) -> str:
        if task.token != outcome.token:
            return "fenced"
        if run.status in SETTLED:
            return f"run {run.status}"
        if task.status not in ("claimed", "ready"):
            return "fenced"
        if outcome.settle is not None:
            if task.kind == "node" and head.width != 1:
                return "not alone"
            if head.checkpoint_id != outcome.settle.checkpoints[0].parent_id:
                return "head moved"
        if outcome.nest is not None:
            first = outcome.nest.checkpoints[0]
            below = self._threads[task.thread_id].heads.get(first.ns, Head())
            if below.checkpoint_id != first.parent_id:
                return "head moved"
            last = [
                t
                for t in self._tasks_of(run.run_id)
                if (t.ns, t.checkpoint_id) == (first.ns, first.parent_id)
            ]
            if any(t.status not in ("done", "cancelled") and not t.replaced for t in last):
                return "busy"
        return ""

    def _put_off(self, task: Task, outcome: Outcome, now: float) -> None:
        self._log_attempt(task, outcome.ending, now, outcome.error)
        task.done_token, task.token, task.holder, task.slot = outcome.token, None, None, None
        if outcome.ending == "retry":
            task.failures += 1
            task.error = outcome.error
        if outcome.progress is not None:
            task.progress = outcome.progress
        waits = outcome.delay > 0 or outcome.awaits or outcome.nest is not None
        if not waits or (outcome.awaits and task.woken):
            self._make_ready(task, now)
        else:
            task.status, task.next_publish, task.awaits = "parked", None, outcome.awaits
            task.run_at = now + outcome.delay if outcome.delay > 0 else None

    def _nest(self, holder: str, slot: str, task: Task, run: Run, nest: Settle, now: float) -> list[TaskRef]:
        """Open a namespace, or go on in one: the task waits for its end."""
        ns = nest.checkpoints[0].ns
        head = self._threads[task.thread_id].heads.setdefault(ns, Head())
        head.run_id, head.owner = run.run_id, task.task_id
        task.status, task.child = "parked", ns
        return self._settle(holder, slot, run, ns, nest, now)

    def _settle(self, holder: str, slot: str, run: Run, ns: str, settle: Settle, now: float) -> list[TaskRef]:
        head = self._threads[run.thread_id].heads[ns]
        for checkpoint in settle.checkpoints:
            self._insert_checkpoint(checkpoint, run.thread_id, run.run_id, now)
            head.checkpoint_id = checkpoint.checkpoint_id
        if not ns:
            run.checkpoint_id = head.checkpoint_id
        if run.version is None and run.fingerprint is None:
            run.version, run.fingerprint = settle.version, settle.fingerprint
        held_back = run.status in HELD_BACK
        for new in settle.tasks:
            made = self._insert_task(new, run, head.checkpoint_id, now)
            if new.token is not None and (not held_back or new.task_id in self._batch):
                made.status, made.token, made.holder, made.slot = "claimed", new.token, holder, slot
                made.attempt, made.started, made.claimed_at = 1, True, now
                made.next_publish = made.published_at = None
                self._held.setdefault(holder, set()).add(made.task_id)
        head.width = len(settle.tasks)
        head.open = sum(new.status == "ready" for new in settle.tasks)
        if settle.run_status != "running":
            return self._end_namespace(run, ns, settle.run_status, now)
        if not (held_back or ns):
            run.status, run.reason = "running", None
        return []

    def _insert_advance(self, task: Task, run: Run, outcome: Outcome, now: float) -> Task:
        new = NewTask(
            task_id=outcome.advance_id,
            path=ADVANCE_PATH,
            node=ADVANCE_PATH,
            kind="advance",
            ns=task.ns,
            queue=outcome.advance_queue,
            priority=task.priority,
        )
        return self._insert_task(new, run, task.checkpoint_id, now)

    # ---------------------------------------------------------------- workers

    def _beat(self, worker: Worker, published: Sequence[str], now: float | None) -> BeatAnswer:
        with self._lock:
            at = store_time(now)
            known = self._workers.get(worker.worker_id)
            revived = known is not None and known.status == "dead"
            self._workers[worker.worker_id] = replace(
                worker, started_at=known.started_at if known else at, beat_at=at, expires_at=at + worker.lease
            )
            if revived:
                for task in self._claims_of(worker.worker_id, None):
                    if task.status == "ready":
                        task.status, task.next_publish = "claimed", None
            for task_id in published:
                ready = self._tasks.get(task_id)
                if ready is not None and ready.status == "ready" and ready.publishes == 0:
                    self._push_publish(ready, at)
            claims = sorted(
                t.task_id for t in self._claims_of(worker.worker_id, None) if t.status == "claimed"
            )
            return BeatAnswer(now=at, revived=revived, claims=claims)

    def _release(
        self, holder: str, slots: Sequence[str] | None, crashed: bool, final: bool, now: float | None
    ) -> list[TaskRef]:
        with self._lock:
            at = store_time(now)
            publish: list[TaskRef] = []
            for task in self._claims_of(holder, None if slots is None else set(slots)):
                charged = crashed and task.started
                task.crashes += charged
                self._log_attempt(task, "crashed" if charged else "released", at)
                if charged and task.crashes >= self.max_crashes:
                    publish += self._fail_lost(task, at)
                else:
                    self._give_back(task, at)
                    publish.append(self._ref(task))
            worker = self._workers.get(holder)
            if final and worker is not None:
                worker.status, worker.expires_at = ("dead" if crashed else "stopped"), at
            return publish

    def _fail_lost(self, task: Task, now: float) -> list[TaskRef]:
        """A poison task: its process died under it too often. It fails and counts down as any other."""
        message = (
            f"its worker process died {task.crashes} times while it ran (max_crashes = {self.max_crashes})"
        )
        task.status, task.ended_at, task.next_publish = "failed", now, None
        task.error = json.dumps(
            {"type": "WorkerLost", "message": message, "node": task.node, "attempt": task.attempt}
        )
        task.token = None
        run = self._runs[task.run_id]
        head = self._threads[task.thread_id].heads[task.ns]
        head.open -= 1
        if head.open > 0:
            return []
        ending, error = self._verdict(task)
        return self._end_namespace(run, task.ns, ending, now, error)

    def _list_workers(self) -> list[Worker]:
        with self._lock:
            return [
                replace(w) for w in sorted(self._workers.values(), key=lambda w: w.started_at, reverse=True)
            ]

    # ---------------------------------------------------------------- sweep

    def _postpone(self, task_ids: Sequence[str], delay: float, now: float | None) -> None:
        with self._lock:
            at = store_time(now)
            for task_id in task_ids:
                task = self._tasks.get(task_id)
                if task is not None and task.status == "ready":
                    task.next_publish = task.published_at = at + delay

    def _sweep(self, observed: float, now: float | None) -> SweepReport:
        with self._lock:
            at = store_time(now)
            report = SweepReport(now=at)
            for worker in list(self._workers.values()):
                if (
                    worker.status in ("alive", "stopping")
                    and worker.expires_at < at
                    and observed >= worker.lease
                ):
                    worker.status = "dead"
                    report.died.append(worker.worker_id)
                elif worker.status in ("dead", "stopped") and worker.expires_at < at - WORKERS_KEPT:
                    del self._workers[worker.worker_id]
            living = {w.worker_id for w in self._workers.values() if w.status in ("alive", "stopping")}
            for task in self._tasks.values():
                if task.status == "claimed" and task.holder not in living:
                    task.status, task.next_publish, task.recovered = "ready", at, True
                if task.status == "parked" and task.run_at is not None and task.run_at <= at:
                    self._make_ready(task, at)
                    task.next_publish = at
                    run = self._runs[task.run_id]
                    run.status = "queued" if run.status == "waiting" else run.status
                    report.woken += 1
            report.expired = sorted(self._overdue(at))
            report.died.sort()
            report.backlogs = self._backlogs(at)
            return report

    def _backlogs(self, now: float | None) -> list[QueueBacklog]:
        with self._lock:
            at = store_time(now)
            found: dict[tuple[str, str], QueueBacklog] = {}
            for task in self._tasks.values():
                if task.status != "ready" or self._runs[task.run_id].status not in RUNNABLE:
                    continue
                ref = self._ref(task)
                backlog = found.setdefault(
                    (ref.queue, ref.priority),
                    QueueBacklog(
                        queue=ref.queue, priority=ref.priority, ready=0, due=0, oldest=task.created_at
                    ),
                )
                backlog.ready += 1
                backlog.due += task.next_publish is not None and task.next_publish <= at
                backlog.oldest = min(backlog.oldest or task.created_at, task.created_at)
            return [found[key] for key in sorted(found)]

    def _due(
        self,
        limit: int,
        queue: str | None,
        priority: str | None,
        published_before: float | None,
        now: float | None,
    ) -> list[TaskRef]:
        with self._lock:
            at = store_time(now)

            def wanted(task: Task) -> bool:
                if task.status != "ready" or task.next_publish is None:
                    return False
                if self._runs[task.run_id].status not in RUNNABLE:
                    return False
                ref = self._ref(task)
                if queue not in (None, ref.queue) or priority not in (None, ref.priority):
                    return False
                early = published_before is not None and (task.published_at or 0.0) < published_before
                return early or task.next_publish <= at

            picked = sorted(filter(wanted, self._tasks.values()), key=lambda t: t.next_publish or 0.0)[:limit]
            for task in picked:
                self._push_publish(task, at)
            return [self._ref(task) for task in picked]
