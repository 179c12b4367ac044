"""The protocol's promises, held against random interleavings with crashes, zombies and doubled messages.

The steps are those of the differential test, on the memory store alone; after each call the invariants are checked,
and at the end one healthy worker must be able to bring every run to its end.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from petiole_stores.memory import MemoryStore
from petiole_stores.records import ENDED, SETTLED, Settle, Worker
from tests.contract.operations import STEPS, Call, Director

EXAMPLES = int(os.environ.get("PETIOLE_FUZZ_EXAMPLES", "100"))
ROUNDS = 60


class Watch:
    """What was seen so far, to notice what may not change."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.committed: set[str] = set()  # tasks of which an output was committed
        self.statuses: dict[str, str] = {}
        self.heads: dict[str, str | None] = {}
        self.parents: dict[str, str | None] = {}

    def check(self, call: Call, answer: Any) -> None:
        if call.method == "finish":
            self._outputs(call, answer)
        self._runs(call)
        self._places()
        self._heads(call)
        self._counts()

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
        by_hand = call.method in ("save", "delete", "clear")
        for name, thread in self.store._threads.items():
            head = thread.heads[""].checkpoint_id if "" in thread.heads else None
            before = self.heads.get(name)
            active = self.store._runs.get(thread.active_run or "")
            jumped = active is not None and head == active.base_id
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
                assert (head.open == 0) == (status == "interrupted"), (
                    f"open is {head.open} in a run that is {status}"
                )


def play(director: Director, steps: list[tuple[str, int]]) -> None:
    watch = Watch(director.model)
    for kind, number in steps:
        for call in director.calls(kind, number):
            watch.check(call, call.on(director.model))
    heal(director, watch)


def heal(director: Director, watch: Watch) -> None:
    """Let one healthy worker sweep, claim and finish until every run is settled: in few rounds, whatever came before."""
    store, scene = director.model, director.scene
    for _ in range(ROUNDS):
        scene.tick(150)  # longer than any lease, timer and push
        store.beat(Worker(worker_id=scene.id("healer"), name="healer"))
        store.sweep()
        for run_id in director.runs("interrupted"):
            store.resume(run_id)
        for ref in store.due(limit=1000):
            heal_task(director, watch, ref.task_id)
        if not director.runs("queued", "running", "waiting", "interrupted"):
            return
    stuck = [(run.run_id, run.status) for run in store._runs.values() if run.status not in SETTLED]
    raise AssertionError(f"never settled: {stuck}")


def heal_task(director: Director, watch: Watch, task_id: str) -> None:
    """Claim a task and finish it, and the advance that the finish may give."""
    scene, holder = director.scene, director.scene.id("healer")
    token = scene.id(director.new("k"))
    if director.model.claim(holder, "s", [(task_id, token)])[0].claim is None:
        return
    task = director.model._tasks[task_id]
    alone = director.model._threads[task.thread_id].heads[task.ns].width == 1
    settle = None
    if task.kind == "advance" or alone:
        settle = Settle(checkpoints=[scene.new_checkpoint(director.new("c"), None)], run_status="succeeded")
        settle.checkpoints[0].parent_id = task.checkpoint_id
    outcome = scene.outcome("", "", settle=settle)
    outcome.task_id, outcome.token = task_id, token
    outcome.advance_id, outcome.advance_token = scene.id(director.new("adv")), scene.id(director.new("k"))
    call = Call("finish", (holder, "s", [outcome]))
    director.script.append(str(call).replace(f"{scene.prefix}-", ""))
    answer = call.on(director.model)
    watch.check(call, answer)
    if answer[0]["advance"] is not None:
        director.model.release(holder, slots=["s"])
        heal_task(director, watch, outcome.advance_id)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(steps=STEPS)
def test_invariants_and_liveness(steps: list[tuple[str, int]]) -> None:
    director = Director()
    try:
        play(director, steps)
    except AssertionError as broken:
        script = "\n".join(director.script)
        pytest.fail(f"{broken}\nafter\n{script}", pytrace=False)
