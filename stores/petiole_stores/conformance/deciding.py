"""Checks of ``cancel``, ``replay`` and ``resume``."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import Worker


@LEDGER
def cancel_settles(scene: Scene) -> None:
    """A cancelled run is settled: open tasks are cancelled, done ones stay, and the thread is free."""
    scene.begin("a", "b", "c", "d")
    for task in "abc":
        scene.claimed(task, f"k{task}", slot=task)
    scene.finished("a", "ka", slot="a")
    scene.finished("c", "kc", "retry", slot="c", delay=50.0)
    scene.tick(1)
    answer = scene.store.cancel(scene.ids("r"), reason="enough")[0]
    same((answer.run_id, answer.result, answer.publish), (scene.id("r"), "committed", []), "the answer")
    run = scene.run()
    same((run.status, run.ended_at), ("cancelled", scene.now), "the run")
    same(document(run.error), {"type": "Cancelled", "message": "enough"}, "its error")
    same([scene.task(t).status for t in "abcd"], ["done", "cancelled", "cancelled", "cancelled"], "its tasks")
    same({scene.task(t).ended_at for t in "bcd"}, {scene.now}, "when they ended")
    scene.tick(100)
    scene.store.sweep()
    same(scene.task("c").status, "cancelled", "the parked one after its time")
    same(scene.submit("r2").result, "committed", "the thread's next run")


@LEDGER
def cancel_twice_is_already(scene: Scene) -> None:
    """A cancelled run is already; one that succeeded or failed is refused; one that is not there is missing."""
    scene.begin("a")
    scene.store.cancel(scene.ids("r"))
    before = scene.snapshot()
    scene.tick(1)
    same(scene.store.cancel(scene.ids("r"), reason="again")[0].result, "already", "the same again")
    same(scene.snapshot(), before, "the store after it")
    scene.begin("x", run="r2", thread="t2")
    scene.claimed("x", "k")
    scene.finished("x", "k", settle=scene.settle("x1", "r2.c0"))
    scene.begin("y", run="r3", thread="t3")
    scene.claimed("y", "ky")
    scene.finished("y", "ky", "failed")
    answers = scene.store.cancel(scene.ids("r2", "nothing", "r3", "r"))
    found = [(a.result, a.reason) for a in answers]
    same(
        found,
        [("refused", "run succeeded"), ("refused", "missing"), ("refused", "run failed"), ("already", "")],
        "all",
    )


@LEDGER
def cancel_of_a_queued_run(scene: Scene) -> None:
    """A queued run that is cancelled never starts, and the active one goes on."""
    scene.begin("a")
    scene.submit("r2", if_busy="enqueue")
    same(scene.store.cancel(scene.ids("r2"))[0].publish, [], "the answer")
    same((scene.run().status, scene.run("r2").status), ("running", "cancelled"), "the runs")
    same(scene.submit("r3").reason, "busy", "a third run")
    scene.claimed("a", "k")
    same(
        scene.finished("a", "k", settle=scene.settle("c1", "r.c0")).publish,
        [],
        "what starts after the active one",
    )


@LEDGER
def cancel_of_waiting_and_interrupted(scene: Scene) -> None:
    """A run that waits for its time or is interrupted can be cancelled, its tasks with it."""
    scene.submit(run_at=scene.now + 10)
    scene.begin("a", run="r2", thread="t2")
    scene.claimed("a", "k")
    scene.finished("a", "k", "interrupted")
    same(
        [a.result for a in scene.store.cancel(scene.ids("r", "r2"))],
        ["committed", "committed"],
        "the answers",
    )
    same(
        (scene.task("r.start").status, scene.task("a", "r2").status), ("cancelled", "cancelled"), "the tasks"
    )
    scene.tick(20)
    scene.store.sweep()
    same((scene.run().status, scene.due()), ("cancelled", []), "after its time")


def _failed(scene: Scene) -> None:
    """A run of three of which ``a`` and ``b`` failed."""
    scene.begin("a", "b", "c")
    for task, ending in (("a", "failed"), ("b", "failed"), ("c", "done")):
        scene.claimed(task, f"k{task}")
        scene.finished(task, f"k{task}", ending)
    same(scene.run().status, "failed", "the run")


@LEDGER
def replay_goes_on(scene: Scene) -> None:
    """A replay puts a new ready task in each failed one's place; finished siblings are kept."""
    _failed(scene)
    scene.tick(1)
    pairs = [(scene.id("b"), scene.id("b2")), (scene.id("a"), scene.id("a2"))]
    answer = scene.store.replay(scene.id("r"), pairs)
    same((answer.result, sorted(scene.names(answer.publish))), ("committed", ["a2", "b2"]), "the answer")
    run = scene.run()
    same((run.status, run.replays, run.error, run.ended_at), ("queued", 1, None, None), "the run")
    old, new = scene.task("a"), scene.task("a2")
    same((old.status, old.replaced), ("failed", True), "the failed one")
    same(
        (new.status, new.node, new.path, new.checkpoint_id, new.attempt),
        ("ready", "a", old.path, old.checkpoint_id, 0),
        "the new",
    )
    same(
        (new.created_at, new.next_publish), (scene.now, scene.now + scene.store.grace), "the new one's outbox"
    )
    same(scene.submit("r2").reason, "busy", "another run")
    scene.claimed("a2", "ka2")
    same(scene.run().status, "running", "the run with a claim")
    same(scene.finished("a2", "ka2").open, 1, "open after one of two")
    same(scene.claimed("b2", "kb2").width, 3, "the width")
    same(
        scene.finish("b2", "kb2", settle=scene.settle("c1", "r.c0")).reason,
        "not alone",
        "a settle by the last",
    )
    advance = scene.finished("b2", "kb2").advance
    same(
        [(o.path, o.node) for o in advance.outputs] if advance else [],
        [(f"pull:{n}", n) for n in "abc"],
        "outputs",
    )
    scene.finished("b2.adv", "kb2.adv", settle=scene.settle("c1", "r.c0"))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def replay_twice_is_already(scene: Scene) -> None:
    """The same replay again is already and changes nothing."""
    _failed(scene)
    pairs = [(scene.id(t), scene.id(f"{t}2")) for t in "ab"]
    scene.store.replay(scene.id("r"), pairs)
    before = scene.snapshot()
    scene.tick(1)
    same(scene.store.replay(scene.id("r"), pairs).result, "already", "the answer")
    same(scene.snapshot(), before, "the store after it")


@LEDGER
def replay_of_a_replay(scene: Scene) -> None:
    """A replay that fails again can be replayed: only what is failed now is replaced."""
    _failed(scene)
    scene.store.replay(scene.id("r"), [(scene.id(t), scene.id(f"{t}2")) for t in "ab"])
    for task, ending in (("a2", "failed"), ("b2", "done")):
        scene.claimed(task, f"k{task}")
        scene.finished(task, f"k{task}", ending)
    same(
        scene.store.replay(scene.id("r"), [(scene.id("a"), scene.id("a3"))]).reason,
        "stale",
        "of what was replaced",
    )
    answer = scene.store.replay(scene.id("r"), [(scene.id("a2"), scene.id("a3"))])
    same((answer.result, scene.run().replays), ("committed", 2), "the second replay")
    scene.claimed("a3", "ka3")
    same(scene.finished("a3", "ka3").advance is not None, True, "the last one's finish holds the advance")


@LEDGER
def replay_of_an_advance(scene: Scene) -> None:
    """An advance that failed (a reducer or router) is replayed without running the nodes again."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
        scene.finished(task, f"k{task}", slot=task)
    same(scene.finished("b.adv", "kb.adv", "failed", slot="b").run_status, "failed", "the run")
    answer = scene.store.replay(scene.id("r"), [(scene.id("b.adv"), scene.id("adv2"))])
    same(scene.names(answer.publish), ["adv2"], "what to publish")
    claim = scene.claimed("adv2", "k2")
    same((claim.task.kind, [o.node for o in claim.outputs]), ("advance", ["a", "b"]), "the new advance")


@LEDGER
def replay_refused(scene: Scene) -> None:
    """Refused: a run that is not there or has not failed, a busy thread, a head that moved, wrong replacements."""
    same(scene.store.replay(scene.id("nothing"), []).reason, "missing", "no such run")
    _failed(scene)
    before = scene.snapshot()
    pairs = [(scene.id(t), scene.id(f"{t}2")) for t in "ab"]
    for wrong in ([], pairs[:1], [*pairs, (scene.id("c"), scene.id("c2"))]):
        same(scene.store.replay(scene.id("r"), wrong).reason, "stale", f"replacing {len(wrong)}")
    same(scene.snapshot(), before, "the store after it")
    scene.submit("r2")
    same(scene.store.replay(scene.id("r2"), []).reason, "run queued", "a queued run")
    same(scene.store.replay(scene.id("r"), pairs).reason, "busy", "with another run active")
    scene.claimed("r2.start", "k")
    scene.finished("r2.start", "k", settle=scene.settle("d", "r.c0"))
    same(scene.store.replay(scene.id("r"), pairs).reason, "head moved", "after another run")
    same(scene.run().status, "failed", "the run")


@LEDGER
def replay_after_a_save_by_hand(scene: Scene) -> None:
    """A checkpoint by hand moves the head, so a failed run of before cannot be replayed."""
    _failed(scene)
    scene.save("hand", parent="r.c0")
    pairs = [(scene.id(t), scene.id(f"{t}2")) for t in "ab"]
    same(scene.store.replay(scene.id("r"), pairs).reason, "head moved", "the replay")


@LEDGER
def resume_goes_on(scene: Scene) -> None:
    """A resume makes the interrupted tasks ready, without their old tokens, and counts them as open."""
    scene.begin("a", "b")
    for task, ending in (("a", "interrupted"), ("b", "done")):
        scene.claimed(task, f"k{task}", slot=task)
        scene.finished(task, f"k{task}", ending, slot=task)
    scene.tick(1)
    answer = scene.store.resume(scene.id("r"))
    same((answer.result, scene.names(answer.publish)), ("committed", ["a"]), "the answer")
    found = scene.task("a")
    same(
        (found.status, found.token, found.holder, found.slot, found.ended_at),
        ("ready", None, None, None, None),
        "the task",
    )
    same(
        (scene.run().status, found.next_publish), ("running", scene.now + scene.store.grace), "run and outbox"
    )
    same(scene.store.release(scene.id("w")), [], "a release by the one who interrupted")
    same(scene.finish("a", "ka", "interrupted", slot="a").result, "already", "its finish said again")
    claim = scene.claimed("a", "ka2")
    same((claim.task.attempt, claim.task.attempts), (2, []), "the next attempt: none was lost")
    answered = scene.finished("a", "ka2")
    same((answered.open, answered.advance is not None), (1, True), "its finish holds the advance")


@LEDGER
def resume_is_not_the_dead_workers(scene: Scene) -> None:
    """A resumed task is nobody's: its earlier worker's death and return do not touch it."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", "interrupted")
    scene.tick(16)
    scene.store.sweep()
    scene.store.resume(scene.id("r"))
    answer = scene.store.beat(Worker(worker_id=scene.id("w"), name="w"))
    same((answer.revived, answer.claims, scene.task("a").status), (True, [], "ready"), "after the return")


@LEDGER
def resume_of_waiting_tasks(scene: Scene) -> None:
    """Tasks that a settle left waiting become ready, all of them."""
    scene.begin("a")
    scene.claimed("a", "k")
    waiting = [scene.new_task(t, status="interrupted") for t in "bc"]
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0", *waiting, status="interrupted"))
    same(scene.names(scene.store.resume(scene.id("r")).publish), ["b", "c"], "the answer")
    scene.claimed("b", "kb")
    same(scene.finished("b", "kb").open, 1, "open after one of two")


@LEDGER
def resume_twice_is_already(scene: Scene) -> None:
    """A run that is queued or running is already resumed; any other status is refused, a missing run too."""
    same(scene.store.resume(scene.id("nothing")).reason, "missing", "no such run")
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", "interrupted")
    scene.store.resume(scene.id("r"))
    before = scene.snapshot()
    scene.tick(1)
    same(scene.store.resume(scene.id("r")).result, "already", "the same again")
    same(scene.snapshot(), before, "the store after it")
    scene.store.cancel(scene.ids("r"))
    same(scene.store.resume(scene.id("r")).reason, "run cancelled", "a cancelled run")
    scene.submit("r2", "t2", run_at=scene.now + 5)
    same(scene.store.resume(scene.id("r2")).reason, "run waiting", "a waiting run")
