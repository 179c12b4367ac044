"""The memory store's checkpoints by hand within the protocol, and its signals."""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from petiole_stores.memory_control import MemoryControl
from petiole_stores.memory_tables import Head, Thread, store_time
from petiole_stores.records import Amendment, Answer, Run, TaskRef


class MemoryAmending(MemoryControl):
    """A namespace goes on from somebody's checkpoints; waits end with a signal."""

    def _amend(self, amendment: Amendment, now: float | None) -> Answer:
        with self._lock:
            at = store_time(now)
            thread = self._threads.get(amendment.thread_id, Thread())
            run = self._runs.get(thread.active_run or "")
            answer = Answer(run_id=run.run_id if run else "", result="refused")
            if amendment.checkpoints[-1].checkpoint_id in self._checkpoints:
                answer.result = "already"
                return answer
            answer.reason = self._amend_refusal(amendment, thread, run)
            if answer.reason:
                return answer
            answer.result = "committed"
            self._threads[amendment.thread_id] = thread
            self._put_blobs(thread, amendment.blobs)
            head = thread.heads.setdefault(amendment.ns, Head())
            for checkpoint in amendment.checkpoints:
                self._insert_checkpoint(checkpoint, amendment.thread_id, run.run_id if run else None, at)
                head.checkpoint_id = checkpoint.checkpoint_id
            if run is not None:
                answer.publish = self._amend_run(amendment, run, head, at)
            return answer

    def _amend_refusal(self, amendment: Amendment, thread: Thread, run: Run | None) -> str:
        if run is not None:
            taken = any(
                t.status == "claimed" or (t.status == "ready" and t.token) for t in self._tasks_of(run.run_id)
            )
            if run.status not in ("interrupted", "paused") or (run.status == "paused" and taken):
                return "busy"
        parent_id = amendment.checkpoints[0].parent_id
        if parent_id is not None:
            parent = self._checkpoints.get(parent_id)
            if parent is None or (parent.thread_id, parent.ns) != (amendment.thread_id, amendment.ns):
                return "no base"
        if thread.heads.get(amendment.ns, Head()).checkpoint_id != amendment.head_id:
            return "head moved"
        if amendment.tasks and (run is None or not self._waited_for(run, amendment.ns)):
            return "no run"
        return ""

    def _waited_for(self, run: Run, ns: str) -> bool:
        """Whether the end of a namespace would be the end of the run, or of a wait of one of its tasks."""
        head = self._threads[run.thread_id].heads.get(ns)
        owner = self._tasks.get((head and head.owner) or "")
        if not ns or owner is None:
            return not ns
        if (owner.run_id, owner.child) != (run.run_id, ns):
            return False
        if owner.status == "interrupted":
            return any(t.ns == ns and t.status == "interrupted" for t in self._tasks_of(run.run_id))
        return owner.status == "parked" and owner.run_at is None and not owner.awaits

    def _amend_run(self, amendment: Amendment, run: Run, head: Head, now: float) -> list[TaskRef]:
        """Put the amendment's tasks in the place of the active run's."""
        ns = amendment.ns
        if not self._waited_for(run, ns):
            return []
        self._withdraw(run, ns, now)
        status: Literal["ready", "interrupted"] = "interrupted" if run.status == "interrupted" else "ready"
        for new in amendment.tasks:
            self._insert_task(replace(new, status=status, token=None), run, head.checkpoint_id, now)
        head.run_id, head.width = run.run_id, len(amendment.tasks)
        head.open = head.width if status == "ready" else 0
        if not ns:
            run.checkpoint_id = head.checkpoint_id
        if amendment.tasks and status == "interrupted":
            return []
        owner = self._owner(run.thread_id, ns)
        if owner is not None:
            self._wait_again(owner)
            if run.status == "interrupted":
                run.status = "running"
        if amendment.tasks:
            return self._ready_refs(run.run_id)
        return self._end_namespace(run, ns, "succeeded", now)

    def _withdraw(self, run: Run, ns: str, now: float) -> None:
        """Take off what is not over, or failed, of a namespace and of those below it."""
        for task in self._tasks_of(run.run_id):
            if task.ns != ns or task.status in ("done", "cancelled") or task.replaced:
                continue
            if task.child:
                self._withdraw(run, task.child, now)
                self._threads[run.thread_id].heads[task.child].open = 0
            task.replaced = True
            if task.status != "failed":
                task.status, task.ended_at = "cancelled", now
                task.next_publish = task.run_at = None

    def _wake(self, thread_id: str, name: str, now: float | None) -> list[TaskRef]:
        with self._lock:
            at = store_time(now)
            thread = self._threads.get(thread_id)
            woken = []
            for task in self._tasks_of(thread.active_run or "") if thread else ():
                if task.status == "parked" and task.awaits == name:
                    self._make_ready(task, at)
                    task.next_publish, task.awaits = at, ""
                    woken.append(self._ref(task))
                elif task.status == "claimed" or (task.status == "ready" and task.token):
                    task.woken = True
            return woken
