"""Checks of ``amend``: checkpoints by hand, in a thread that rests, waits for answers or is paused."""

from __future__ import annotations

from petiole_stores.conformance.inside import two_levels
from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.errors import InputError
from petiole_stores.records import Amendment, Answer, Blob


def amendment(
    scene: Scene, head: str | None, *names: str, parent: str | None = None, tasks: str = "", ns: str = ""
) -> Amendment:
    """Checkpoints ``names`` in a row after ``parent`` (else after ``head``), and the tasks (a letter each)."""
    before = parent or head
    checkpoints = []
    for name in names:
        checkpoints.append(scene.new_checkpoint(name, before, ns=ns, source="update"))
        before = name
    return Amendment(
        thread_id=scene.id("t"),
        ns=ns,
        head_id=None if head is None else scene.id(head),
        checkpoints=checkpoints,
        tasks=[scene.new_task(name, ns=ns, status="interrupted") for name in tasks],
    )


def _amend(
    scene: Scene, head: str | None, *names: str, parent: str | None = None, tasks: str = "", ns: str = ""
) -> Answer:
    return scene.store.amend(amendment(scene, head, *names, parent=parent, tasks=tasks, ns=ns))


@LEDGER
def amend_a_new_thread(scene: Scene) -> None:
    """A thread that is not there begins with its amendment: checkpoints, blobs and head, without a run."""
    made = amendment(scene, None, "u0", "u1")
    made.blobs = [Blob(digest="x", codec="raw", data=b"x", checksum="x")]
    answer = scene.store.amend(made)
    same((answer.run_id, answer.result, answer.publish), ("", "committed", []), "the answer")
    same((scene.history(), scene.head()), (["u1", "u0"], "u1"), "history and head")
    found = scene.store.get_checkpoint(scene.id("u1"))
    same(found and (found.run_id, found.source, found.created_at), (None, "update", scene.now), "the last")
    same(list(scene.store.get_blobs(scene.id("t"), ["x"])), ["x"], "its blobs")
    before = scene.snapshot()
    scene.tick(1)
    same((scene.store.amend(made).result, scene.snapshot()), ("already", before), "the same again")
    scene.begin("a", parent="u1")
    same((scene.head(), scene.statuses("a")), ("r.c0", ["ready"]), "a run after it")


@LEDGER
def amend_a_settled_thread(scene: Scene) -> None:
    """Without an active run the amendment is nobody's; a failed run can then no longer be replayed."""
    scene.begin("a")
    scene.take("a", "failed")
    answer = _amend(scene, "r.c0", "u1")
    same((answer.run_id, answer.result, scene.head()), ("", "committed", "u1"), "the answer, the head")
    found = scene.store.get_checkpoint(scene.id("u1"))
    same((found and found.run_id, scene.run().checkpoint_id), (None, scene.id("r.c0")), "whose it is")
    answer = scene.store.replay(scene.id("r"), [(scene.id("a"), scene.id("a2"))])
    same(answer.reason, "head moved", "a replay")


@LEDGER
def amend_forks(scene: Scene) -> None:
    """An amendment may go on from any checkpoint of its namespace; the head is where it ends."""
    scene.chain("c1", "c2")
    scene.end("c2", "c3")
    same(_amend(scene, "c3", "u1", "u2", parent="c1").result, "committed", "the fork")
    same((scene.head(), scene.history()), ("u2", ["u2", "u1", "c3", "c2", "c1", "r.c0"]), "head and history")
    other = amendment(scene, "u2", "n1")
    other.checkpoints[0].parent_id = None
    same((scene.store.amend(other).result, scene.head()), ("committed", "n1"), "one that begins anew")


@LEDGER
def amend_an_interrupted_run(scene: Scene) -> None:
    """Its waiting tasks are cancelled and replaced by new ones, interrupted; a resume goes on with those."""
    scene.begin("a", "b")
    scene.take("a", "interrupted")
    scene.take("b")
    scene.tick(1)
    made = amendment(scene, "r.c0", "u1", tasks="mn")
    answer = scene.store.amend(made)
    same((answer.run_id, answer.result, answer.publish), (scene.id("r"), "committed", []), "the answer")
    old = scene.task("a")
    same((old.status, old.replaced, old.ended_at), ("cancelled", True, scene.now), "the one that asked")
    same((scene.statuses("b"), scene.task("b").replaced), (["done"], False), "its finished sibling")
    new = scene.task("m")
    same(
        (new.status, new.checkpoint_id, new.next_publish), ("interrupted", scene.id("u1"), None), "a new one"
    )
    run = scene.run()
    same((run.status, run.checkpoint_id, scene.head()), ("interrupted", scene.id("u1"), "u1"), "run and head")
    found = scene.store.get_checkpoint(scene.id("u1"))
    same(found and found.run_id, scene.id("r"), "whose the checkpoint is")
    before = scene.snapshot()
    again = scene.store.amend(made)
    same((again.run_id, again.result, scene.snapshot()), (scene.id("r"), "already", before), "the same again")
    same(scene.names(scene.store.resume(scene.id("r")).publish), ["m", "n"], "the resume")
    claim = scene.claimed("m", "km", slot="m")
    same((claim.width, claim.base and scene.name(claim.base)), (2, "u1"), "the claim of one")
    same(scene.finished("m", "km", slot="m").open, 1, "open after one")
    advance = scene.take("n").advance
    same([o.node for o in advance.outputs] if advance else [], ["m", "n"], "the outputs")
    scene.finished("n.adv", "kn.adv", slot="n", settle=scene.settle("c2", "u1"))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def amend_a_paused_run(scene: Scene) -> None:
    """Its ready and parked tasks are cancelled; the new ones are ready, whatever they say, and wait for the unpause."""
    scene.begin("a", "b", "c")
    scene.claimed("b", "kb")
    scene.finished("b", "kb", "parked", delay=5.0)
    scene.take("c", "failed")
    scene.store.pause(scene.ids("r"))
    answer = _amend(scene, "r.c0", "u1", tasks="m")
    same((answer.result, scene.names(answer.publish)), ("committed", ["m"]), "the answer")
    same(scene.statuses("a", "b", "c", "m"), ["cancelled", "cancelled", "failed", "ready"], "the tasks")
    same([scene.task(t).replaced for t in "abc"], [True, True, True], "which are replaced")
    same((scene.run().status, scene.claim("m", "km").reason), ("paused", "run paused"), "the run")
    scene.tick(10)
    scene.store.sweep()
    same(scene.statuses("b"), ["cancelled"], "the parked one after its time")
    same(scene.names(scene.store.unpause(scene.ids("r"))[0].publish), ["m"], "the unpause")
    same(scene.take("m", "failed").run_status, "failed", "the new one fails")
    answer = scene.store.replay(scene.id("r"), [(scene.id("m"), scene.id("m2"))])
    same(answer.result, "committed", "a replay of it alone")
    scene.take("m2", settle=scene.settle("c1", "u1"))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def amend_to_the_end(scene: Scene) -> None:
    """Without tasks left the run succeeds, and the thread's next queued one starts."""
    scene.begin("a")
    scene.take("a", "interrupted")
    scene.submit("r2", if_busy="enqueue")
    scene.tick(1)
    made = amendment(scene, "r.c0", "u1")
    answer = scene.store.amend(made)
    same((answer.run_id, answer.result), (scene.id("r"), "committed"), "the answer")
    same(scene.names(answer.publish), ["r2.start"], "what to publish")
    run = scene.run()
    same((run.status, run.ended_at, run.checkpoint_id), ("succeeded", scene.now, scene.id("u1")), "the run")
    same((scene.statuses("a"), scene.head()), (["cancelled"], "u1"), "task and head")
    same(scene.store.amend(made).result, "already", "the same again")


@LEDGER
def amend_before_the_start(scene: Scene) -> None:
    """A paused run that has not started goes on with the amendment's tasks in place of its start."""
    scene.worker()
    scene.submit(run_at=scene.now + 50)
    scene.store.pause(scene.ids("r"))
    same(_amend(scene, None, "u1", tasks="m").result, "committed", "the amendment")
    same(scene.statuses("r.start", "m"), ["cancelled", "ready"], "the tasks")
    scene.store.unpause(scene.ids("r"))
    same(scene.run().status, "queued", "the run")
    scene.take("m", settle=scene.settle("c1", "u1"))
    same(scene.run().status, "succeeded", "the run at its end")


@LEDGER
def amend_refused(scene: Scene) -> None:
    """Refused in this order: busy, no base, head moved, no run. A refused one changes nothing."""
    scene.save("other", "t2")
    scene.begin("a", "b")
    same(_amend(scene, "r.c0", "u1").reason, "busy", "while it is running")
    scene.claimed("a", "k")
    scene.store.pause(scene.ids("r"))
    answer = _amend(scene, "wrong", "u1", parent="none")
    same((answer.run_id, answer.reason), (scene.id("r"), "busy"), "paused, with a claimed task")
    scene.tick(16)
    scene.store.sweep()
    same(_amend(scene, "r.c0", "u1").reason, "busy", "paused, with one that its worker may yet finish")
    scene.store.release(scene.id("w"))
    before = scene.snapshot(["t", "t2"])
    for parent in ("none", "other"):
        same(_amend(scene, "wrong", "u1", parent=parent).reason, "no base", f"after {parent}")
    same(_amend(scene, "r.c0", "u1", parent="r.c0", ns="sub").reason, "no base", "after another namespace's")
    same(_amend(scene, "none", "u1", parent="r.c0", tasks="m").reason, "head moved", "another head")
    same(_amend(scene, None, "u1", parent="r.c0").reason, "head moved", "no head")
    same(_amend(scene, None, "u1", ns="sub", tasks="m").reason, "no run", "tasks that nobody waits for")
    same(scene.snapshot(["t", "t2"]), before, "the store after it")
    scene.store.cancel(scene.ids("r"))
    same(_amend(scene, "r.c0", "u1", tasks="m").reason, "no run", "tasks without a run")
    same(_amend(scene, None, "u1", tasks="m").reason, "head moved", "which comes after the head")
    same(_amend(scene, "r.c0", "u1").result, "committed", "without tasks")


@LEDGER
def amend_a_blocked_run(scene: Scene) -> None:
    """A run that is blocked, or waits for its time, is busy."""
    scene.begin("a")
    scene.store.block(scene.ids("r"), kind="Unserved", reason="nobody")
    same(_amend(scene, "r.c0", "u1").reason, "busy", "a blocked one")
    scene.store.cancel(scene.ids("r"))
    scene.submit("r2", run_at=scene.now + 10)
    same(_amend(scene, "r.c0", "u1").reason, "busy", "a waiting one")


@LEDGER
def amend_inside(scene: Scene) -> None:
    """An amendment of an inner namespace replaces its tasks and those below it; its owners go on waiting."""
    two_levels(scene)
    scene.take("z", "interrupted")
    for task in ("v", "y", "b"):
        scene.take(task)
    answer = _amend(scene, "i0", "u1", tasks="m", ns="a:1")
    same((answer.result, answer.publish), ("committed", []), "the answer")
    same(scene.statuses("a", "x", "y", "z", "v", "m"),
         ["interrupted", "cancelled", "done", "cancelled", "done", "interrupted"], "the tasks")  # fmt: skip
    run = scene.run()
    same((run.status, run.checkpoint_id, scene.head()), ("interrupted", scene.id("r.c0"), "r.c0"), "the root")
    same(scene.names(scene.store.resume(scene.id("r")).publish), ["m"], "the resume")
    same(scene.statuses("a"), ["parked"], "the owner")
    answer_ = scene.take("m", settle=scene.settle("i2", "u1", ns="a:1"))
    same(scene.names(answer_.publish), ["a"], "the end of the namespace")
    same(scene.take("a").advance is not None, True, "the owner's finish holds the advance")


@LEDGER
def amend_inside_to_the_end(scene: Scene) -> None:
    """Without tasks left the namespace is over: its owner is ready, owners above wait, an interrupted run runs."""
    two_levels(scene)
    scene.take("z", "interrupted")
    for task in ("v", "y", "b"):
        scene.take(task)
    scene.tick(1)
    answer = _amend(scene, "j0", "u1", ns="a:1|x:1")
    same((answer.result, scene.names(answer.publish)), ("committed", ["x"]), "the answer")
    same(scene.statuses("a", "x", "z"), ["parked", "ready", "cancelled"], "the tasks")
    same(
        (scene.run().status, scene.task("x").next_publish), ("running", scene.now + scene.store.grace), "run"
    )
    claim = scene.claimed("x", "kx2", slot="x")
    same(claim.child and scene.name(claim.child), "u1", "what the owner waited for")
    same(scene.finished("x", "kx2", slot="x").advance is not None, True, "its finish holds the advance")


@LEDGER
def amend_inside_a_paused_run(scene: Scene) -> None:
    """In a paused run an owner that was interrupted waits again for the new tasks, which are ready."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.take("x", "interrupted")
    scene.store.pause(scene.ids("r"))
    answer = _amend(scene, "i0", "u1", tasks="m", ns="a:1")
    same(
        (answer.result, scene.statuses("a", "x", "m")), ("committed", ["parked", "cancelled", "ready"]), "it"
    )
    scene.store.unpause(scene.ids("r"))
    same(scene.take("b").open, 1, "open at the root: the owner")
    scene.take("m", settle=scene.settle("i1", "u1", ns="a:1"))
    same(scene.take("a").advance is not None, True, "the owner's finish holds the advance")


@LEDGER
def amend_the_root_above(scene: Scene) -> None:
    """An amendment of the root takes off owners with all that is below them; their namespaces stay as they are."""
    two_levels(scene)
    scene.take("z", "failed")
    scene.store.pause(scene.ids("r"))
    same(_amend(scene, "r.c0", "u1", tasks="m").result, "committed", "the amendment")
    same(scene.statuses("a", "b", "x", "y", "v"), ["cancelled"] * 5, "the tasks")
    same((scene.statuses("z"), scene.task("z").replaced), (["failed"], True), "the one that had failed")
    same(scene.history(ns="a:1|x:1"), ["j0"], "a namespace below")
    scene.store.unpause(scene.ids("r"))
    same(scene.take("m", "failed").run_status, "failed", "the new task fails")
    answer = scene.store.replay(scene.id("r"), [(scene.id("m"), scene.id("m2"))])
    same(answer.result, "committed", "a replay of the new one alone")


@LEDGER
def amend_what_nobody_waits_for(scene: Scene) -> None:
    """In a namespace whose owner has ended nothing but the head moves: the run and its tasks are as they were."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "sub", "i0")
    scene.take("a", settle=scene.settle("c1", "r.c0", scene.new_task("b")))
    scene.take("b", "interrupted")
    same(_amend(scene, "i0", "u0", ns="sub", tasks="m").reason, "no run", "with tasks")
    answer = _amend(scene, "i0", "u1", ns="sub")
    same((answer.run_id, answer.result, answer.publish), (scene.id("r"), "committed", []), "the answer")
    same((scene.history(ns="sub"), scene.run().status), (["u1", "i0"], "interrupted"), "history and run")
    same((scene.statuses("a", "b"), scene.head()), (["done", "interrupted"], "c1"), "the tasks, the root")
    same(_amend(scene, None, "v0", ns="new").result, "committed", "a namespace that was not there")
    same((scene.history(ns="new"), scene.run().status), (["v0"], "interrupted"), "its history, the run")
    scene.store.resume(scene.id("r"))
    scene.claimed("b", "kb2")
    scene.nest("b", "kb2", "sub", "i2", parent="u1")
    same(scene.statuses("b"), ["ready"], "a task that goes on there")


@LEDGER
def amend_checks_its_arguments(scene: Scene) -> None:
    """An amendment brings a checkpoint, all of one namespace."""
    mixed = amendment(scene, None, "u1", tasks="m")
    mixed.tasks = [scene.new_task("m", ns="sub")]
    for bad in (amendment(scene, None), mixed, Amendment(thread_id="", head_id=None, checkpoints=[])):
        try:
            scene.store.amend(bad)
        except InputError:
            continue
        raise AssertionError(f"it took {bad!r}")
