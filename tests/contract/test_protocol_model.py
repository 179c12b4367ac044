"""The protocol's promises, held against random interleavings with crashes, zombies and doubled messages.

The steps are those of the differential test, on the memory store alone; after each call the invariants are checked,
and at the end one healthy worker must be able to bring every run to its end.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings

from petiole_stores.records import SETTLED, Settle, Worker
from tests.contract.calls import Call
from tests.contract.operations import STEPS, Director
from tests.contract.watch import Watch

EXAMPLES = int(os.environ.get("PETIOLE_FUZZ_EXAMPLES", "100"))
ROUNDS = 60


def play(director: Director, steps: list[tuple[str, int]]) -> None:
    watch = Watch(director.model)
    for kind, number in steps:
        for call in director.calls(kind, number):
            watch.check(call, call.on(director.model))
    heal(director, watch)


def heal(director: Director, watch: Watch) -> None:
    """Let one healthy worker sweep, claim and finish until every run is settled: in few rounds, whatever came before."""
    store, scene = director.model, director.scene
    for run in store._runs.values():
        run.deadline = None  # running out of time is no way to get there
    for _ in range(ROUNDS):
        scene.tick(150)  # longer than any lease, timer and push
        store.beat(Worker(worker_id=scene.id("healer"), name="healer"))
        store.sweep()
        for run_id in director.runs("interrupted"):
            store.resume(run_id)
        for task in director.tasks("parked"):
            if task.awaits:
                store.wake(task.thread_id, task.awaits)
        store.unpause(director.runs("paused"))
        store.unblock(director.runs("blocked"))
        for ref in store.due(limit=1000):
            heal_task(director, watch, ref.task_id)
        if all(run.status in SETTLED for run in store._runs.values()):
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
        checkpoint = scene.new_checkpoint(director.new("c"), None, ns=task.ns)
        settle = Settle(checkpoints=[checkpoint], run_status="succeeded")
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
