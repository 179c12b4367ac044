"""The memory store's upkeep: damaged rows, old checkpoints, old threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from petiole_stores.leaves import dies_with_owner
from petiole_stores.memory_tables import MemoryTables, Thread, store_time
from petiole_stores.records import ENDED, Blob, Checkpointed, Task, Trimmed
from petiole_stores.references import blobs_named


class MemoryUpkeep(MemoryTables):
    """What looks after rows without running anything."""

    def _note(self, task_id: str, token: str, progress: str) -> bool:
        with self._lock:
            if not self._holds(task_id, token):
                return False
            self._tasks[task_id].progress = progress
            return True

    def _drop(self, task_ids: Sequence[str]) -> int:
        with self._lock:
            dropped = 0
            for task_id in dict.fromkeys(task_ids):
                task = self._tasks.get(task_id)
                if task is not None and task.status == "failed" and not task.replaced and not task.dropped:
                    task.dropped = True
                    dropped += 1
            return dropped

    # ---------------------------------------------------------------- damage

    def _quarantine(self, checkpoint_id: str, reason: str) -> bool:
        with self._lock:
            found = self._checkpoints.get(checkpoint_id)
            if found is not None:  # claims that were given out keep the record as it was
                self._checkpoints[checkpoint_id] = replace(found, quarantined=reason)
            return found is not None

    def _replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None:
        with self._lock:
            thread = self._threads.get(thread_id)
            if thread is not None:
                thread.blobs.update({blob.digest: blob for blob in blobs})

    # ---------------------------------------------------------------- age

    def _recent(self, cursor: str, limit: int) -> tuple[list[str], str]:
        with self._lock:
            after = int(cursor or 0)
            found: dict[str, None] = {}
            for checkpoint in sorted(self._checkpoints.values(), key=lambda c: c.seq):
                if checkpoint.seq <= after:
                    continue
                if checkpoint.thread_id not in found and len(found) == limit:
                    break
                found[checkpoint.thread_id] = None
                after = checkpoint.seq
            return list(found), str(after)

    def _latest(self) -> str:
        return str(self._seq)

    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        with self._lock:
            thread = self._threads.get(thread_id)
            if thread is None:
                return Trimmed()
            done = Trimmed()
            if max_checkpoints is not None:
                for checkpoint in self._superfluous(thread_id, thread, max_checkpoints):
                    del self._checkpoints[checkpoint.checkpoint_id]
                    done.checkpoints += 1
                    done.tasks += self._forget_tasks(thread_id, checkpoint.checkpoint_id)
                while orphans := self._orphans(thread_id, thread):
                    for checkpoint in orphans:
                        del self._checkpoints[checkpoint.checkpoint_id]
                        done.checkpoints += 1
                        done.tasks += self._forget_tasks(thread_id, checkpoint.checkpoint_id)
            for digest in thread.blobs.keys() - self._named(thread_id):
                del thread.blobs[digest]
                done.blobs += 1
            return done

    def _superfluous(self, thread_id: str, thread: Thread, most: int) -> list[Checkpointed]:
        kept: set[str | None] = {run.base_id for run in self._runs.values() if run.thread_id == thread_id}
        kept |= {task.checkpoint_id for task in self._thread_tasks(thread_id) if not _over(task)}
        for head in thread.heads.values():
            record = self._checkpoints.get(head.checkpoint_id or "")
            kept |= {head.checkpoint_id, record.parent_id if record else None}
        superfluous = []
        counts: dict[str, int] = {}
        for checkpoint in self._list_checkpoints(thread_id, None, None, None):
            counts[checkpoint.ns] = counts.get(checkpoint.ns, 0) + 1
            if counts[checkpoint.ns] > most and checkpoint.checkpoint_id not in kept:
                superfluous.append(checkpoint)
        return superfluous

    def _orphans(self, thread_id: str, thread: Thread) -> list[Checkpointed]:
        """Forget the heads of namespaces that died with their owner; gives the checkpoints that go with them."""
        gone = {
            ns
            for ns, head in thread.heads.items()
            if head.owner is not None and head.owner not in self._tasks and dies_with_owner(ns)
        }
        for ns in gone:
            del thread.heads[ns]
        return [c for c in self._list_checkpoints(thread_id, None, None, None) if c.ns in gone]

    def _forget_tasks(self, thread_id: str, checkpoint_id: str) -> int:
        gone = [task for task in self._thread_tasks(thread_id) if task.checkpoint_id == checkpoint_id]
        for task in gone:
            self._run_tasks[task.run_id].remove(task.task_id)
            del self._tasks[task.task_id], self._task_numbers[task.task_id]
        return len(gone)

    def _named(self, thread_id: str) -> set[str]:
        """Digests of the blobs that the thread's documents refer to."""
        texts: list[str | None] = []
        for checkpoint in self._checkpoints.values():
            if checkpoint.thread_id == thread_id:
                texts += [checkpoint.state, checkpoint.next, checkpoint.control, checkpoint.metadata]
        for run in self._runs.values():
            if run.thread_id == thread_id:
                texts += [run.input, run.metadata, run.config]
        for task in self._thread_tasks(thread_id):
            texts += [task.arg, task.output, task.progress]
        return blobs_named(texts)

    def _expired(self, ages: Mapping[str, float], limit: int, now: float | None) -> list[str]:
        with self._lock:
            at = store_time(now)
            newest = {run.thread_id: run for run in sorted(self._runs.values(), key=lambda run: run.seq)}
            found = [
                run
                for run in newest.values()
                if self._threads[run.thread_id].active_run is None
                and run.status in ages
                and run.ended_at is not None
                and run.ended_at < at - ages[run.status]
            ]
            return [run.thread_id for run in sorted(found, key=lambda run: run.seq)[:limit]]

    def _delete_thread(self, thread_id: str) -> bool:
        with self._lock:
            thread = self._threads.get(thread_id)
            if thread is None:
                return True
            if thread.active_run is not None:
                return False
            for run_id in [run.run_id for run in self._runs.values() if run.thread_id == thread_id]:
                for task_id in self._run_tasks.pop(run_id, ()):
                    del self._tasks[task_id], self._task_numbers[task_id]
                del self._runs[run_id]
            self._checkpoints = {
                key: checkpoint
                for key, checkpoint in self._checkpoints.items()
                if checkpoint.thread_id != thread_id
            }
            del self._threads[thread_id]
            self._events.pop(thread_id, None)
            return True

    def _thread_tasks(self, thread_id: str) -> list[Task]:
        return [task for task in self._tasks.values() if task.thread_id == thread_id]


def _over(task: Task) -> bool:
    return task.status in ENDED and task.status != "interrupted"
