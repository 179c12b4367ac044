"""Checks of ``resume`` with answers: one of several interrupts, in namespaces, said again, too late, while it runs."""

from __future__ import annotations

from petiole_stores.conformance.inside import two_levels
from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import Answer, Resumption


def _answer(scene: Scene, *pairs: tuple[str, str], progress: str | None = None) -> Answer:
    """Resume tasks that were interrupted under these tokens."""
    answers = [
        Resumption(task_id=scene.id(task), token=token and scene.id(token), progress=progress)
        for task, token in pairs
    ]
    return scene.store.resume(scene.id("r"), answers)


@LEDGER
def interrupted_keeps_progress(scene: Scene) -> None:
    """An interrupted task keeps the progress that it brings, or the one that it had; its next claim has it."""
    scene.begin("a", "b")
    scene.claimed("b", "k0", slot="b")
    scene.finished("b", "k0", "parked", slot="b", progress='{"had": 1}')
    scene.take("a", "interrupted", progress='{"left": 1}')
    scene.take("b", "interrupted")
    same([document(scene.task(t).progress) for t in "ab"], [{"left": 1}, {"had": 1}], "what is kept")
    scene.store.resume(scene.id("r"))
    same(document(scene.claimed("a", "k2").task.progress), {"left": 1}, "what the next attempt finds")


@LEDGER
def interrupts_are_answered_one_by_one(scene: Scene) -> None:
    """An answer resumes its own task; the others stay interrupted, and interrupt the run again when it has ended."""
    scene.begin("a", "b", "c")
    for task, ending in (("a", "interrupted"), ("b", "interrupted"), ("c", "done")):
        scene.take(task, ending)
    scene.tick(1)
    answer = _answer(scene, ("a", "ka"), progress='{"said": "yes"}')
    same((answer.result, scene.names(answer.publish)), ("committed", ["a"]), "the answer")
    same((scene.statuses("a", "b"), scene.run().status), (["ready", "interrupted"], "running"), "tasks, run")
    found = scene.task("a")
    same((document(found.progress), found.token, found.ended_at), ({"said": "yes"}, None, None), "the task")
    same(found.next_publish, scene.now + scene.store.grace, "its outbox")
    scene.claimed("a", "ka2", slot="a")
    done = scene.finished("a", "ka2", slot="a")
    same((done.open, done.run_status, done.advance), (0, "interrupted", None), "when it has ended")
    same(_answer(scene, ("b", "kb")).result, "committed", "the other's answer")
    scene.claimed("b", "kb2", slot="b")
    advance = scene.finished("b", "kb2", slot="b").advance
    same([o.node for o in advance.outputs] if advance else [], ["a", "b", "c"], "the outputs")


@LEDGER
def interrupts_are_answered_while_others_run(scene: Scene) -> None:
    """A run that is running takes answers, as one that is interrupted; without answers it is already resumed."""
    scene.begin("a", "b", "c")
    scene.take("a", "interrupted")
    scene.take("b", "interrupted")
    same(scene.store.resume(scene.id("r")).result, "already", "without answers")
    same(_answer(scene, ("a", "ka")).result, "committed", "with one")
    same(scene.statuses("a", "b"), ["ready", "interrupted"], "the tasks")
    same(scene.take("c").open, 1, "open after the third")
    scene.claimed("a", "ka2")
    same(scene.finished("a", "ka2").run_status, "interrupted", "the run at the end of the superstep")


@LEDGER
def interrupts_take_one_answer_each(scene: Scene) -> None:
    """An answer said again, or meant for an earlier interrupt of the task, counts for nothing."""
    scene.begin("a", "b")
    scene.take("a", "interrupted")
    scene.take("b", "interrupted")
    before = scene.snapshot()
    for token in ("", "other", "kb"):
        same(_answer(scene, ("a", token)).result, "already", f"an answer to {token!r}")
    same(_answer(scene).result, "already", "no answer at all")
    same(scene.snapshot(), before, "the store after it")
    _answer(scene, ("a", "ka"), progress='{"n": 1}')
    before = scene.snapshot()
    same(_answer(scene, ("a", "ka"), progress='{"n": 2}').result, "already", "the answer said again")
    same(scene.snapshot(), before, "the store after it")
    scene.claimed("a", "ka2", slot="a")
    scene.finished("a", "ka2", "interrupted", slot="a")
    before = scene.snapshot()
    same(_answer(scene, ("a", "ka"), progress='{"n": 3}').result, "already", "one meant for the first")
    same(scene.snapshot(), before, "the store after it")
    same(_answer(scene, ("a", "ka"), ("b", "kb")).result, "committed", "a late one beside a good one")
    same(scene.statuses("a", "b"), ["interrupted", "ready"], "the tasks")
    same(_answer(scene, ("a", "ka2")).result, "committed", "one to the second")


@LEDGER
def interrupts_refuse_answers(scene: Scene) -> None:
    """Answers are refused for a task that is not the run's, and by a run that is held back, waits or has settled."""
    scene.begin("a", "b")
    scene.begin("o", run="r2", thread="t2")
    scene.take("o", "interrupted")
    scene.take("a", "interrupted")
    before = scene.snapshot(["t", "t2"])
    for wrong in ("o", "nothing"):
        same(_answer(scene, ("a", "ka"), (wrong, f"k{wrong}")).reason, "stale", f"with one for {wrong}")
    same(scene.snapshot(["t", "t2"]), before, "the store after it")
    same(_answer(scene, ("r.start", "r.start.k")).result, "already", "for a task that was never interrupted")
    scene.store.pause(scene.ids("r"))
    same(_answer(scene, ("a", "ka")).reason, "run paused", "of a paused run")
    scene.store.unpause(scene.ids("r"))
    scene.store.cancel(scene.ids("r"))
    same(_answer(scene, ("a", "ka")).reason, "run cancelled", "of a cancelled run")
    same(scene.store.resume(scene.id("none"), []).reason, "missing", "of no run")


@LEDGER
def interrupts_of_born_ones(scene: Scene) -> None:
    """A task that was born interrupted is answered under an empty token."""
    scene.begin("a")
    waiting = [scene.new_task(name, status="interrupted") for name in "xy"]
    scene.take("a", settle=scene.settle("c1", "r.c0", *waiting, status="interrupted"))
    same(scene.names(_answer(scene, ("x", "")).publish), ["x"], "what to publish")
    same(scene.statuses("x", "y"), ["ready", "interrupted"], "the tasks")
    same(scene.take("x").run_status, "interrupted", "the run when it has ended")


@LEDGER
def interrupt_inside_counts_down_level_by_level(scene: Scene) -> None:
    """An interrupted leaf interrupts its owners and then the run, each once its own siblings have ended."""
    two_levels(scene)
    scene.take("z", "interrupted")
    same((scene.take("v").run_status, scene.statuses("a", "x")), ("running", ["parked", "interrupted"]), "v")
    scene.tick(1)
    scene.take("y")
    owner = scene.task("a")
    same((owner.status, owner.ended_at, owner.error), ("interrupted", scene.now, None), "the owner above")
    same(scene.take("b").run_status, "interrupted", "the run")
    answer = scene.store.resume(scene.id("r"))
    same((answer.result, scene.names(answer.publish)), ("committed", ["z"]), "the resume")
    same(scene.statuses("a", "x", "z"), ["parked", "parked", "ready"], "owners and leaf")
    same([scene.task(t).ended_at for t in "ax"], [None, None], "when the owners have ended")
    scene.claimed("z", "kz2")
    advance = scene.finished("z", "kz2").advance
    same([o.node for o in advance.outputs] if advance else [], ["v", "z"], "the outputs inside")


@LEDGER
def interrupt_inside_is_answered_while_others_run(scene: Scene) -> None:
    """An answer to a leaf has its interrupted owners wait again, each counted, while the root's siblings run."""
    two_levels(scene)
    for task in "zv":
        scene.take(task, "interrupted")
    scene.take("y", "interrupted")
    same(
        (scene.statuses("a", "x"), scene.run().status), (["interrupted", "interrupted"], "running"), "before"
    )
    same(scene.names(_answer(scene, ("z", "kz")).publish), ["b", "z"], "what is ready")
    same(scene.statuses("a", "x"), ["parked", "parked"], "the owners")
    same(_answer(scene, ("y", "ky")).result, "committed", "the answer to another level's")
    same(scene.take("b").open, 1, "open at the root")
    scene.claimed("z", "kz2")
    same(
        (scene.finished("z", "kz2").open, scene.statuses("a", "x")), (0, ["parked", "interrupted"]), "z ended"
    )
    scene.claimed("y", "ky2")
    same(scene.finished("y", "ky2").run_status, "interrupted", "y ended, v still asks")
    same(_answer(scene, ("v", "kv")).result, "committed", "the last answer")
    scene.claimed("v", "kv2")
    advance = scene.finished("v", "kv2").advance
    same([o.node for o in advance.outputs] if advance else [], ["v", "z"], "the outputs inside")


@LEDGER
def interrupt_of_an_owner_by_its_namespace(scene: Scene) -> None:
    """An owner that was interrupted with its namespace takes no answer: the leaf does."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.take("x", "interrupted")
    before = scene.snapshot()
    for answers in ((("a", "k"),), (("x", "kx"), ("a", "k"))):
        same(_answer(scene, *answers).reason, "stale", f"answers to {answers}")
    same(scene.snapshot(), before, "the store after it")
    same(_answer(scene, ("x", "kx")).result, "committed", "an answer to the leaf")


@LEDGER
def interrupt_of_an_owner_by_itself(scene: Scene) -> None:
    """An owner that is interrupted after its namespace's end takes the answer itself and keeps what it waited for."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.take("x", settle=scene.settle("i1", "i0", ns="a:1"))
    scene.take("a", "interrupted")
    same(scene.names(_answer(scene, ("a", "ka")).publish), ["a"], "an answer to it")
    claim = scene.claimed("a", "k3")
    same(claim.child and scene.name(claim.child), "i1", "its claim")
    scene.finished("a", "k3", "interrupted")
    same(scene.names(scene.store.resume(scene.id("r")).publish), ["a"], "a resume of the run")
    same(scene.statuses("a", "x"), ["ready", "done"], "the tasks")


@LEDGER
def interrupt_and_failure_inside(scene: Scene) -> None:
    """A failure beside an interrupt fails the owner; replayed, the interrupt still asks and is answered."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x", "y")
    scene.take("x", "interrupted")
    same((scene.take("y", "failed").run_status, scene.statuses("a")), ("failed", ["failed"]), "run and owner")
    scene.store.replay(scene.id("r"), [(scene.id("y"), scene.id("y2"))])
    same(scene.statuses("a", "x", "y2"), ["parked", "interrupted", "ready"], "after the replay")
    same(scene.take("y2").run_status, "interrupted", "the run when the new one has ended")
    same(_answer(scene, ("x", "kx")).result, "committed", "the answer")
    scene.claimed("x", "kx2")
    same(scene.finished("x", "kx2").advance is not None, True, "its finish holds the advance")
