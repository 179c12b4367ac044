"""Checks of what a run that is held back still does: finishes, joins, timers, deaths and ends."""

from __future__ import annotations

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.records import Worker


def _pause(scene: Scene) -> None:
    same(scene.store.pause(scene.ids("r"), reason="why")[0].result, "committed", "the pause")


@LEDGER
def held_back_settles(scene: Scene) -> None:
    """What was claimed before may finish and settle; the run stays held back, its next tasks are ready and wait."""
    scene.begin("a")
    scene.claimed("a", "k")
    _pause(scene)
    settle = scene.settle("c1", "r.c0", scene.new_task("b"))
    answer = scene.finished("a", "k", settle=settle)
    same((answer.open, answer.run_status, answer.publish), (1, "paused", []), "the answer")
    run = scene.run()
    same((run.status, run.reason is not None, run.checkpoint_id), ("paused", True, scene.id("c1")), "the run")
    same((scene.head(), scene.task("b").status), ("c1", "ready"), "head and next task")
    again = scene.finish("a", "k", settle=settle)
    same((again.result, again.run_status), ("already", "paused"), "the finish said again")
    same(scene.claim("b", "kb").reason, "run paused", "a claim of the next task")
    scene.tick(1000)
    same(scene.due(), [], "what is due")
    scene.store.unpause(scene.ids("r"))
    same(scene.due(), ["b"], "what is due after the unpause")
    scene.worker()
    scene.claimed("b", "kb")


@LEDGER
def held_back_takes_no_next_task(scene: Scene) -> None:
    """A settle's task with a token is born ready while the run is held back, and nobody's."""
    scene.begin("a")
    scene.begin("x", run="r2", thread="t2")
    scene.claimed("a", "k")
    scene.claimed("x", "kx", slot="s2")
    _pause(scene)
    scene.store.block(scene.ids("r2"), kind="Unserved", reason="nobody")
    inline = scene.new_task("b", token=scene.id("kb"))
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0", inline))
    inline = scene.new_task("y", token=scene.id("ky"))
    answer = scene.finished("x", "kx", slot="s2", settle=scene.settle("x1", "r2.c0", inline))
    same(answer.run_status, "blocked", "what a blocked run's finish says")
    for task in (scene.task("b"), scene.task("y", "r2")):
        same((task.status, task.token, task.holder, task.attempt), ("ready", None, None, 0), task.node)
    same(scene.finish("b", "kb", "failed").reason, "fenced", "a finish under the token that was not taken")
    same(scene.store.beat(Worker(worker_id=scene.id("w"), name="w")).claims, [], "what the worker holds")


@LEDGER
def held_back_joins(scene: Scene) -> None:
    """The last finisher of a superstep gets the advance though the run is held back, and settles it."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    _pause(scene)
    scene.finished("a", "ka", slot="a")
    answer = scene.finished("b", "kb", slot="b")
    same((answer.run_status, answer.open), ("paused", 1), "the last answer")
    holds(answer.advance is not None, "it holds the advance")
    same(scene.task("b.adv").status, "claimed", "the advance")
    again = scene.finish("b", "kb", slot="b")
    same((again.result, again.advance), ("already", answer.advance), "the finish said again")
    settle = scene.settle("c1", "r.c0", scene.new_task("c"), scene.new_task("d"))
    same(
        scene.finished("b.adv", "kb.adv", slot="b", settle=settle).run_status, "paused", "the settle's answer"
    )
    same((scene.head(), scene.task("c").status, scene.run().status), ("c1", "ready", "paused"), "after it")


@LEDGER
def held_back_advance_can_wait(scene: Scene) -> None:
    """An advance that is released while its run is held back waits, and is claimed after it."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    _pause(scene)
    for task in "ab":
        scene.finished(task, f"k{task}", slot=task)
    scene.store.release(scene.id("w"), slots=["b"])
    same(scene.claim("b.adv", "k2").reason, "run paused", "a claim of it")
    scene.store.unpause(scene.ids("r"))
    same([output.node for output in scene.claimed("b.adv", "k2").outputs], ["a", "b"], "its outputs")


@LEDGER
def held_back_ends(scene: Scene) -> None:
    """A run that ends while it is held back is settled, and the thread's next run starts."""
    scene.begin("a")
    scene.submit("r2", if_busy="enqueue")
    scene.claimed("a", "k")
    _pause(scene)
    answer = scene.finished("a", "k", settle=scene.settle("c1", "r.c0"))
    same((answer.run_status, scene.names(answer.publish)), ("succeeded", ["r2.start"]), "the answer")
    run = scene.run()
    same((run.status, run.reason, run.ended_at), ("succeeded", None, scene.now), "the run")
    same(scene.store.unpause(scene.ids("r"))[0].reason, "run succeeded", "an unpause of it")


@LEDGER
def held_back_fails(scene: Scene) -> None:
    """A superstep with a failed task fails its run though it is held back, and a replay takes it up as queued."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    _pause(scene)
    same(scene.finished("a", "ka", "failed", slot="a").run_status, "paused", "after the first")
    same(scene.finished("b", "kb", slot="b").run_status, "failed", "after the last")
    same((scene.run().status, scene.run().reason), ("failed", None), "the run")
    same(scene.store.replay(scene.id("r"), [(scene.id("a"), scene.id("a2"))]).result, "committed", "a replay")
    same(scene.run().status, "queued", "the run after it")


@LEDGER
def held_back_is_interrupted(scene: Scene) -> None:
    """An interrupt wins over being held back, be it a task's or a settle's; the resume goes on."""
    scene.begin("a")
    scene.begin("x", run="r2", thread="t2")
    scene.claimed("a", "ka")
    scene.claimed("x", "kx", slot="s2")
    scene.store.pause(scene.ids("r", "r2"))
    same(scene.finished("a", "ka", "interrupted").run_status, "interrupted", "after an interrupted task")
    waiting = scene.new_task("y", status="interrupted")
    settle = scene.settle("x1", "r2.c0", waiting, status="interrupted")
    answer = scene.finished("x", "kx", slot="s2", settle=settle)
    same((answer.run_status, answer.open), ("interrupted", 0), "after a settle to interrupted")
    for run in ("r", "r2"):
        same((scene.run(run).status, scene.run(run).reason), ("interrupted", None), f"the run {run}")
        same(scene.store.pause(scene.ids(run))[0].reason, "run interrupted", f"a pause of {run}")
        same(scene.store.resume(scene.id(run)).result, "committed", f"the resume of {run}")
    same((scene.run().status, scene.run("r2").status), ("running", "running"), "the runs after it")


@LEDGER
def held_back_puts_off(scene: Scene) -> None:
    """Attempts end with a retry or a wait as ever; a timer that falls due makes its task ready, and not due."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    _pause(scene)
    scene.finished("a", "ka", "retry", slot="a")
    scene.finished("b", "kb", "parked", slot="b", delay=10.0)
    same((scene.task("a").status, scene.task("b").status), ("ready", "parked"), "the tasks")
    scene.tick(10)
    holds(scene.store.sweep().woken >= 1, "the sweep counts the timer")
    same((scene.task("b").status, scene.run().status), ("ready", "paused"), "the task and the run")
    scene.tick(1000)
    same((scene.due(), scene.ready()), ([], 0), "due and backlog")
    scene.store.unpause(scene.ids("r"))
    same(sorted(scene.due()), ["a", "b"], "what is due after the unpause")


@LEDGER
def held_back_when_its_worker_dies(scene: Scene) -> None:
    """A dead worker's task is ready and keeps its token: its finish is still taken, and nobody else claims."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    _pause(scene)
    scene.tick(16)
    scene.store.sweep()
    lost = scene.task("a")
    same((lost.status, lost.token, lost.recovered), ("ready", scene.id("ka"), True), "the task")
    scene.worker("w2")
    same(scene.claim("a", "k2", holder="w2").reason, "run paused", "a claim by another")
    same((scene.due(), scene.ready()), ([], 0), "due and backlog")
    same(scene.store.holds(scene.id("a"), scene.id("ka")), True, "whether its token holds")
    same(scene.finish("a", "ka", slot="a").result, "committed", "the dead worker's finish")
    scene.store.unpause(scene.ids("r"))
    same(scene.claimed("b", "k2", holder="w2").task.attempt, 2, "the next attempt at the other")
    same(scene.finish("b", "kb", slot="b").reason, "fenced", "its old token")


@LEDGER
def held_back_when_its_worker_returns(scene: Scene) -> None:
    """A worker that comes back has its claims again, held back or not."""
    scene.begin("a")
    scene.claimed("a", "k")
    _pause(scene)
    scene.tick(16)
    scene.store.sweep()
    answer = scene.store.beat(Worker(worker_id=scene.id("w"), name="w"))
    same((answer.revived, answer.claims), (True, scene.ids("a")), "the beat's answer")
    same((scene.task("a").status, scene.run().status), ("claimed", "paused"), "the task and the run")


@LEDGER
def held_back_keeps_its_claim_a_secret(scene: Scene) -> None:
    """A claim said again while the run is held back is refused with the run's status; its token still holds."""
    scene.begin("a")
    scene.claimed("a", "k")
    _pause(scene)
    before = scene.snapshot()
    answer = scene.claim("a", "k")
    same((answer.result, answer.reason), ("refused", "run paused"), "the answer")
    same(scene.snapshot(), before, "the store after it")
    same(scene.store.holds(scene.id("a"), scene.id("k")), True, "whether its token holds")


@LEDGER
def held_back_gives_up(scene: Scene) -> None:
    """Claims of a run that is held back are released; crashes are charged, and too many fail it."""
    scene.begin("a")
    for crash in range(1, scene.store.max_crashes + 1):
        scene.claimed("a", f"k{crash}")
        _pause(scene)
        refs = scene.store.release(scene.id("w"), slots=["s"], crashed=True)
        last = crash == scene.store.max_crashes
        same(scene.names(refs), [] if last else ["a"], f"the answer to crash {crash}")
        same(scene.run().status, "failed" if last else "paused", f"the run after crash {crash}")
        if not last:
            scene.store.unpause(scene.ids("r"))
    same((scene.task("a").status, scene.run().reason), ("failed", None), "the task and the reason")


@LEDGER
def held_back_is_cancelled(scene: Scene) -> None:
    """A run that is held back can be cancelled, and is resumed and replayed no more than any other."""
    scene.begin("a")
    scene.submit("r2", if_busy="enqueue")
    _pause(scene)
    same(scene.store.resume(scene.id("r")).reason, "run paused", "a resume")
    same(scene.store.replay(scene.id("r"), []).reason, "run paused", "a replay")
    answer = scene.store.cancel(scene.ids("r"))[0]
    same((answer.result, scene.names(answer.publish)), ("committed", ["r2.start"]), "the cancel")
    same(
        (scene.run().status, scene.run().reason, scene.task("a").status),
        ("cancelled", None, "cancelled"),
        "the run",
    )
