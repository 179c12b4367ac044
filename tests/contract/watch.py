"""What the protocol promises of every state and every change of it, held against the memory store's own tables."""

from __future__ import annotations

from typing import Any

import msgspec

from petiole_stores.memory import MemoryStore
from petiole_stores.records import ENDED, HELD_BACK, SETTLED, Task
from tests.contract.calls import Call


class Watch:
    """What was seen so far, to notice what may not change."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.committed: set[str] = set()  # tasks of which an output was committed
        self.statuses: dict[str, str] = {}
        self.heads: dict[str, str | None] = {}
        self.parents: dict[str, str | None] = {}
        self.tasks: dict[str, Task] = {}
        self.quarantined: set[str] = set()

    def check(self, call: Call, answer: Any) -> None:
        if call.method == "finish":
            self._outputs(call, answer)
        if call.method == "delete_thread":
            self._forget()
        self._held_back(call)
        self._runs(call)
        self._places()
        self._heads(call)
        self._counts()
        self._bases()
        self._progress(call, answer)
        self._quarantine(call)
        if call.method == "sweep":
            self._deadlines()
        self.tasks = {t.task_id: msgspec.structs.replace(t) for t in self.store._tasks.values()}

    def _forget(self) -> None:
        """A deleted thread's names may be used again."""
        self.committed &= self.store._tasks.keys()
        self.tasks = {name: task for name, task in self.tasks.items() if name in self.store._tasks}
        self.statuses = {name: status for name, status in self.statuses.items() if name in self.store._runs}
        self.heads = {name: head for name, head in self.heads.items() if name in self.store._threads}

    def _held_back(self, call: Call) -> None:
        for task in self.store._tasks.values():
            run = self.store._runs[task.run_id]
            if run.status not in HELD_BACK or self.statuses.get(run.run_id) not in HELD_BACK:
                continue
            known = self.tasks.get(task.task_id)
            taken = task.status == "claimed" and (known is None or known.token != task.token)
            allowed = (
                call.method == "finish"
                and known is None
                and (
                    # Born claimed for the same finish to end, which it does not if it says so too early.
                    task.kind == "advance" or task.task_id in [outcome.task_id for outcome in call.args[2]]
                )
            )
            assert not taken or allowed, f"{task.task_id} was claimed while its run is {run.status}"

    def _outputs(self, call: Call, answer: Any) -> None:
        for outcome, said in zip(call.args[2], answer, strict=True):
            if outcome.ending == "done" and said["result"] == "committed":
                assert outcome.task_id not in self.committed, f"{outcome.task_id} was committed twice"
                self.committed.add(outcome.task_id)

    def _runs(self, call: Call) -> None:
        busy: dict[str, int] = {}
        for run in self.store._runs.values():
            before, self.statuses[run.run_id] = self.statuses.get(run.run_id), run.status
            if before in SETTLED and before != run.status:
                assert (call.method, before, run.status) == ("replay", "failed", "queued"), (
                    f"{run.run_id} settled twice"
                )
            tasks = self.store._tasks_of(run.run_id)
            open_tasks = [t.task_id for t in tasks if t.status in ("ready", "claimed", "parked")]
            if run.status in SETTLED:
                assert not open_tasks, f"{run.run_id} is {run.status} with {open_tasks} open"
            if run.status == "succeeded":
                undone = [t.task_id for t in tasks if t.status != "done" and not t.replaced]
                assert not undone, f"{run.run_id} succeeded without {undone}"
            assert (run.reason is not None) == (run.status in HELD_BACK), (
                f"{run.run_id} says why it is {run.status}"
            )
            if run.status == "waiting":
                assert [t.kind for t in tasks if t.run_at is not None] == ["advance"], f"{run.run_id} waits"
            active = self.store._threads[run.thread_id].active_run == run.run_id
            assert active <= (run.status not in SETTLED), f"{run.run_id} is active and {run.status}"
            waits_its_turn = run.status == "queued" and not active
            busy[run.thread_id] = busy.get(run.thread_id, 0) + (
                run.status not in SETTLED and not waits_its_turn
            )
            if waits_its_turn:
                assert self.store._threads[run.thread_id].active_run, (
                    f"{run.run_id} is queued on an idle thread"
                )
        assert all(count <= 1 for count in busy.values()), f"runs at once: {busy}"

    def _places(self) -> None:
        done: set[tuple[str, ...]] = set()
        for task in self.store._tasks.values():
            if task.status == "done":
                place = (task.run_id, task.ns, task.checkpoint_id or "", task.path)
                assert place not in done, f"two outputs at {place}"
                done.add(place)

    def _heads(self, call: Call) -> None:
        for checkpoint in self.store._checkpoints.values():
            self.parents[checkpoint.checkpoint_id] = checkpoint.parent_id
        by_hand = call.method in ("save", "delete", "clear", "delete_thread", "amend")
        for name, thread in self.store._threads.items():
            head = thread.heads[""].checkpoint_id if "" in thread.heads else None
            before = self.heads.get(name)
            active = self.store._runs.get(thread.active_run or "")
            jumped = active is not None and head == active.base_id
            if call.method == "sweep":  # it may start a run and end it at once, for its deadline is over too
                jumped |= head in {r.base_id for r in self.store._runs.values() if r.thread_id == name}
            if head != before and not by_hand and not jumped:
                assert before is None or before in self._line(head), (
                    f"{name}: the head left its line: {before} -> {head}"
                )
            self.heads[name] = head

    def _line(self, checkpoint_id: str | None) -> list[str]:
        line: list[str] = []
        while checkpoint_id is not None and checkpoint_id not in line:
            line.append(checkpoint_id)
            checkpoint_id = self.parents.get(checkpoint_id)
        return line

    def _counts(self) -> None:
        for thread in self.store._threads.values():
            if thread.active_run is None:
                continue
            for ns, head in thread.heads.items():
                if head.run_id != thread.active_run:
                    continue
                tasks = self.store._tasks_of(head.run_id)
                mine = [t for t in tasks if (t.ns, t.checkpoint_id) == (ns, head.checkpoint_id)]
                running = [t.task_id for t in mine if t.status not in ENDED]
                assert head.open == len(running), f"open is {head.open}, and {running} have not ended"
                status = self.store._runs[head.run_id].status
                assert ns or (head.open == 0) == (status == "interrupted"), (
                    f"open is {head.open} in a run that is {status}"
                )
            for task in self.store._tasks_of(thread.active_run):
                waits = task.status == "parked" and task.run_at is None and not task.awaits
                if waits:
                    below = thread.heads.get(task.child)
                    goes_on = below is not None and below.owner == task.task_id and below.open > 0
                    assert goes_on, f"{task.task_id} waits for {task.child!r}, where nothing is open"

    def _bases(self) -> None:
        for task in self.store._tasks.values():
            needed = task.status not in ENDED or task.status == "interrupted"
            if task.checkpoint_id and needed and self.store._runs[task.run_id].status not in SETTLED:
                assert task.checkpoint_id in self.store._checkpoints, f"{task.task_id} has lost its base"
        for name, thread in self.store._threads.items():
            for head in thread.heads.values():
                assert head.checkpoint_id is None or head.checkpoint_id in self.store._checkpoints, (
                    f"{name} has lost its head"
                )

    def _progress(self, call: Call, answer: Any) -> None:
        for name, task in self.store._tasks.items():
            known = self.tasks.get(name)
            if known is not None and known.progress != task.progress:
                assert call.method in ("note", "finish", "resume"), (
                    f"{call.method} changed the progress of {name}"
                )
                assert task.progress is not None, f"{name} has lost its progress"
        if call.method == "replay" and answer["result"] == "committed":
            for old, new in call.args[1]:
                assert self.store._tasks[new].progress == self.store._tasks[old].progress, (
                    f"{new} lacks its progress"
                )

    def _quarantine(self, call: Call) -> None:
        now = {c.checkpoint_id for c in self.store._checkpoints.values() if c.quarantined is not None}
        healed = (self.quarantined & self.store._checkpoints.keys()) - now
        assert not healed or call.method == "save", f"{call.method} healed {healed}"
        self.quarantined = now

    def _deadlines(self) -> None:
        assert self.store.clock is not None
        for run in self.store._runs.values():
            late = run.deadline is not None and run.deadline <= self.store.clock()
            assert not late or run.status in SETTLED, f"{run.run_id} is {run.status} after its deadline"
