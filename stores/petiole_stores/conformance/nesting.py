"""Checks of ``nest``: a task opens a namespace, waits for its end, and goes on with what it came to."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.errors import InputError
from petiole_stores.records import NewTask, Outcome, Resumption, Settle


@LEDGER
def nest_opens_a_namespace(scene: Scene) -> None:
    """A task that nests waits, parked without a time; the namespace has its head and its tasks, and the root stays."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(1)
    answer = scene.nest("a", "k", "a:1", "i0", "x")
    same((answer.open, answer.run_status, answer.publish), (1, "running", []), "the answer")
    owner, leaf = scene.task("a"), scene.task("x")
    same(
        (owner.status, owner.child, owner.token, owner.holder, owner.run_at, owner.next_publish),
        ("parked", "a:1", None, None, None, None),
        "the owner",
    )
    same([(a.outcome, a.attempt) for a in owner.attempts], [("parked", 1)], "its attempts")
    same((leaf.status, leaf.ns, leaf.checkpoint_id), ("ready", "a:1", scene.id("i0")), "the leaf")
    same(leaf.next_publish, scene.now + scene.store.grace, "its outbox")
    same((scene.head(), scene.history(ns="a:1")), ("r.c0", ["i0"]), "root and namespace")
    inner = scene.store.head(scene.id("t"), "a:1")
    same(inner and (scene.name(inner), inner.run_id), ("i0", scene.id("r")), "the namespace's head")
    same(scene.run().checkpoint_id, scene.id("r.c0"), "the run's checkpoint: the root's")
    same(scene.claim("a", "k2").reason, "parked", "a claim of the owner")
    same(scene.finish("a", "other").reason, "fenced", "a finish of the owner")
    scene.tick(1000)
    scene.store.sweep()
    same(scene.statuses("a"), ["parked"], "the owner after a sweep")
    scene.worker()
    claim = scene.claimed("x", "kx")
    same((claim.width, claim.base and scene.name(claim.base), claim.child), (1, "i0", None), "the claim")


@LEDGER
def nest_ends_and_wakes_its_owner(scene: Scene) -> None:
    """When the namespace has succeeded its owner is ready, in the answer's publish; its claim has the namespace's head."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.tick(1)
    settle = scene.settle("i1", "i0", scene.new_task("y"), ns="a:1")
    same(scene.take("x", settle=settle).publish, [], "a superstep inside")
    same((scene.head(), scene.statuses("a", "b", "y")), ("r.c0", ["parked", "ready", "ready"]), "after it")
    answer = scene.take("y", settle=scene.settle("i2", "i1", ns="a:1"))
    same((answer.open, answer.run_status, scene.names(answer.publish)), (0, "running", ["a"]), "the answer")
    owner = scene.task("a")
    same((owner.status, owner.child, owner.failures), ("ready", "a:1", 0), "the owner")
    same((owner.next_publish, owner.publishes), (scene.now + scene.store.grace, 0), "its outbox")
    claim = scene.claimed("a", "k2")
    same(claim.child and scene.name(claim.child), "i2", "what it waited for")
    same(
        (claim.task.attempt, claim.width, claim.base and scene.name(claim.base)), (2, 2, "r.c0"), "its claim"
    )
    same(scene.finished("a", "k2").open, 1, "open at the root")
    holder = scene.take("b")
    same([o.node for o in holder.advance.outputs] if holder.advance else [], ["a", "b"], "the root's outputs")


@LEDGER
def nest_joins_inside(scene: Scene) -> None:
    """A superstep of several tasks inside is counted and joined by an advance of the namespace."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x", "y")
    same(scene.take("y").open, 1, "open after one")
    answer = scene.take("x")
    advance = answer.advance
    same(advance and (advance.task.ns, advance.width), ("a:1", 2), "the advance")
    same([o.node for o in advance.outputs] if advance else [], ["x", "y"], "its outputs")
    same(scene.claim("a", "k2").reason, "parked", "the owner while it goes on")
    settle = scene.settle("i1", "i0", ns="a:1")
    answer = scene.finished("x.adv", "kx.adv", slot="x", settle=settle)
    same((scene.names(answer.publish), answer.run_status), (["a"], "running"), "the end of it")
    scene.take("a", settle=scene.settle("c1", "r.c0"))
    same((scene.run().status, scene.head()), ("succeeded", "c1"), "the run")


@LEDGER
def nest_two_levels_deep(scene: Scene) -> None:
    """A task of a namespace may open one of its own: each end wakes the owner of one level."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x", "y")
    scene.claimed("x", "kx")
    answer = scene.nest("x", "kx", "a:1|x:1", "j0", "z")
    same(answer.open, 2, "open in the namespace of the second owner")
    same(scene.statuses("a", "x", "y", "z"), ["parked", "parked", "ready", "ready"], "the tasks")
    answer = scene.take("z", settle=scene.settle("j1", "j0", ns="a:1|x:1"))
    same((scene.names(answer.publish), scene.statuses("a", "x")), (["x"], ["parked", "ready"]), "one up")
    claim = scene.claimed("x", "kx2")
    same(claim.child and scene.name(claim.child), "j1", "what it waited for")
    same(scene.finished("x", "kx2").open, 1, "open after it")
    scene.take("y")
    settle = scene.settle("i1", "i0", ns="a:1")
    answer = scene.finished("y.adv", "ky.adv", slot="y", settle=settle)
    same(scene.names(answer.publish), ["a"], "two up")
    scene.take("a", settle=scene.settle("c1", "r.c0"))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def nest_by_a_start(scene: Scene) -> None:
    """Whatever is claimed may nest, a run's start too, before the thread has a checkpoint."""
    scene.worker()
    scene.submit()
    scene.claimed("r.start", "k")
    scene.nest("r.start", "k", "s:1", "i0", "x")
    scene.take("x", settle=scene.settle("i1", "i0", ns="s:1"))
    claim = scene.claimed("r.start", "k2")
    same((claim.base, claim.child and scene.name(claim.child)), (None, "i1"), "its claim")
    scene.finished("r.start", "k2", settle=scene.settle("c0", None))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def nest_said_again(scene: Scene) -> None:
    """A nest, and the end of its namespace, said again are already and change nothing."""
    scene.begin("a")
    scene.claimed("a", "k")
    nest = scene.settle("i0", None, scene.new_task("x"), ns="a:1")
    scene.finished("a", "k", "parked", nest=nest)
    before = scene.snapshot()
    scene.tick(1)
    again = scene.finish("a", "k", "parked", nest=nest)
    same((again.result, again.open, again.publish, scene.snapshot()), ("already", 1, [], before), "a nest")
    settle = scene.settle("i1", "i0", ns="a:1")
    scene.take("x", settle=settle)
    before = scene.snapshot()
    scene.tick(1)
    same(scene.finish("x", "kx", slot="x", settle=settle).result, "already", "the end")
    same(scene.finish("a", "k", "parked", nest=nest).result, "already", "the nest after the end")
    same(scene.snapshot(), before, "the store after it")
    scene.claimed("a", "k2")
    same(scene.finish("a", "k", "parked", nest=nest).result, "already", "the nest after the next claim")
    scene.finished("a", "k2", settle=scene.settle("c1", "r.c0"))
    same(scene.finish("a", "k", "parked", nest=nest).reason, "fenced", "the nest after the owner's end")


@LEDGER
def nest_that_is_over_at_once(scene: Scene) -> None:
    """A nest to ``succeeded`` has its owner ready at once, one to ``interrupted`` interrupts it and counts down."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    answer = scene.nest("a", "k", "a:1", "i0")
    same((answer.open, scene.names(answer.publish)), (2, ["a"]), "the one that succeeded")
    claim = scene.claimed("a", "k2")
    same(claim.child and scene.name(claim.child), "i0", "its claim")
    scene.finished("a", "k2")
    scene.claimed("b", "kb")
    answer = scene.nest("b", "kb", "b:1", "h0", "q", status="interrupted")
    same((answer.open, answer.run_status, answer.publish), (0, "interrupted", []), "the one that waits")
    same(scene.statuses("b", "q"), ["interrupted", "interrupted"], "its tasks")
    same((scene.run().status, scene.task("b").ended_at), ("interrupted", scene.now), "the run, the owner")
    scene.store.resume(scene.id("r"))
    same(scene.statuses("b", "q"), ["parked", "ready"], "its tasks after the resume")


@LEDGER
def nest_head_moved(scene: Scene) -> None:
    """A nest whose first checkpoint does not extend the namespace's head is refused and changes nothing."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    before = scene.snapshot()
    wrong = scene.settle("i0", "elsewhere", scene.new_task("x"), ns="sub")
    same(scene.finish("a", "k", "parked", nest=wrong).reason, "head moved", "a namespace that is not there")
    same(scene.snapshot(), before, "the store after it")
    scene.nest("a", "k", "sub", "i0")
    scene.claimed("b", "kb")
    before = scene.snapshot()
    for parent in (None, "r.c0"):
        wrong = scene.settle("i1", parent, scene.new_task("x"), ns="sub")
        same(scene.finish("b", "kb", "parked", nest=wrong).reason, "head moved", f"after {parent}")
    same(scene.snapshot(), before, "the store after it")
    scene.nest("b", "kb", "sub", "i1", parent="i0")


@LEDGER
def nest_busy(scene: Scene) -> None:
    """A namespace in which the run has tasks that go on, ask or have failed takes no second owner, until they are over."""
    scene.begin("a", "b", "c")
    scene.claimed("a", "k")
    scene.nest("a", "k", "sub", "i0", "x", "y")
    scene.claimed("b", "kb")
    second = scene.settle("j0", "i0", scene.new_task("z"), ns="sub")
    for task, ending in (("", ""), ("x", "interrupted"), ("y", "done")):
        if task:
            scene.take(task, ending)
        before = scene.snapshot()
        same(scene.finish("b", "kb", "parked", nest=second).reason, "busy", f"after {task or 'the start'}")
        same(scene.snapshot(), before, "the store after it")
    scene.store.resume(scene.id("r"), [Resumption(task_id=scene.id("x"), token=scene.id("kx"))])
    scene.claimed("x", "kx2", slot="x")
    scene.finished("x", "kx2", "failed", slot="x")
    same(scene.finish("b", "kb", "parked", nest=second).reason, "busy", "after a failure")
    scene.finished("b", "kb")
    scene.take("c")
    scene.store.replay(scene.id("r"), [(scene.id("x"), scene.id("x2"))])
    scene.take("x2")
    settle = scene.settle("i1", "i0", ns="sub")
    scene.finished("x2.adv", "kx2.adv", slot="x2", settle=settle)
    scene.claimed("a", "k2")
    same(scene.nest("a", "k2", "sub", "i2", "v", parent="i1").result, "committed", "when all is over")


@LEDGER
def nest_settle_head_moved(scene: Scene) -> None:
    """A settle inside extends the head of its own namespace, and only one without siblings there may bring it."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.claimed("x", "kx")
    before = scene.snapshot()
    wrong = scene.settle("i1", "r.c0", ns="a:1")
    same(scene.finish("x", "kx", settle=wrong).reason, "head moved", "one that extends the root's")
    same(scene.snapshot(), before, "the store after it")
    scene.claimed("b", "kb", slot="b")
    alone = scene.settle("c1", "r.c0")
    same(scene.finish("b", "kb", slot="b", settle=alone).reason, "not alone", "the owner's sibling")
    scene.finished("x", "kx", settle=scene.settle("i1", "i0", ns="a:1"))


@LEDGER
def nest_goes_on_in_a_namespace_that_outlives_its_owner(scene: Scene) -> None:
    """A later task of another run goes on from the head that an earlier owner's namespace has left."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "sub", "i0", "x")
    scene.take("x", settle=scene.settle("i1", "i0", ns="sub"))
    scene.take("a", settle=scene.settle("c1", "r.c0"))
    scene.begin("b", run="r2", parent="c1")
    scene.claimed("b", "nb")
    scene.nest("b", "nb", "sub", "i2", "y", parent="i1")
    same(scene.statuses("b", "y", run="r2"), ["parked", "ready"], "the second owner and its task")
    answer = scene.take("y", settle=scene.settle("i3", "i2", ns="sub"))
    same(scene.names(answer.publish), ["b"], "who is ready: the second owner")
    same(scene.history(ns="sub"), ["i3", "i2", "i1", "i0"], "the namespace's history")
    same(scene.statuses("a"), ["done"], "the first owner")
    scene.take("b", settle=scene.settle("c2", "r2.c0"))
    same(scene.run("r2").status, "succeeded", "the run")


@LEDGER
def nest_twice(scene: Scene) -> None:
    """A task may open one namespace after another: it waits for the one that it has opened last."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.take("x", settle=scene.settle("i1", "i0", ns="a:1"))
    scene.claimed("a", "k2")
    scene.nest("a", "k2", "a:2", "j0", "y")
    same((scene.task("a").child, scene.statuses("a")), ("a:2", ["parked"]), "the owner")
    scene.take("y", settle=scene.settle("j1", "j0", ns="a:2"))
    claim = scene.claimed("a", "k3")
    same(claim.child and scene.name(claim.child), "j1", "what it waited for")
    scene.finished("a", "k3", settle=scene.settle("c1", "r.c0"))


@LEDGER
def nest_takes_a_next_task(scene: Scene) -> None:
    """A nest's task with a token is born claimed by the finisher's slot; one batch may end it, too."""
    scene.begin("a")
    scene.claimed("a", "k")
    taken = scene.new_task("x", token=scene.id("kx"))
    nest = scene.settle("i0", None, taken, ns="a:1")
    outcomes = [
        scene.outcome("a", "k", "parked", nest=nest),
        scene.outcome("x", "kx", settle=scene.settle("i1", "i0", ns="a:1")),
    ]
    first, second = scene.store.finish(scene.id("w"), "s", outcomes)
    same(
        (first.result, second.result, scene.names(second.publish)), ("committed", "committed", ["a"]), "both"
    )
    scene.claimed("a", "k2")
    taken = scene.new_task("y", token=scene.id("ky"))
    scene.finished("a", "k2", "parked", nest=scene.settle("j0", None, taken, ns="a:2"))
    found = scene.task("y")
    same((found.status, found.holder, found.slot), ("claimed", scene.id("w"), "s"), "the one that is held")


@LEDGER
def nest_remembers_the_version(scene: Scene) -> None:
    """A nest's blobs and progress are kept, and its version is the run's if it has none."""
    scene.begin("a")
    scene.claimed("a", "k")
    nest = scene.settle("i0", None, scene.new_task("x"), ns="a:1")
    nest.version, nest.fingerprint = "7", "f"
    scene.finished("a", "k", "parked", nest=nest, progress='{"asked": 1}')
    same((scene.run().version, scene.run().fingerprint), ("7", "f"), "the run's version")
    same(document(scene.task("a").progress), {"asked": 1}, "the owner's progress")


@LEDGER
def nest_checks_its_arguments(scene: Scene) -> None:
    """A nest or a wait that no ledger could judge is an InputError."""
    scene.begin("a")
    scene.claimed("a", "k")
    nest = scene.settle("i0", None, scene.new_task("x"), ns="a:1")
    mixed: list[NewTask] = [scene.new_task("x", ns="b:1")]
    bad: list[Outcome] = [
        scene.outcome("a", "k", "done", nest=nest),
        scene.outcome("a", "k", "retry", nest=nest),
        scene.outcome("a", "k", "retry", awaits="s"),
        scene.outcome("a", "k", "parked", nest=nest, delay=1.0),
        scene.outcome("a", "k", "parked", nest=nest, awaits="s"),
        scene.outcome("a", "k", "parked", nest=scene.settle("i0", None, scene.new_task("x"))),
        scene.outcome("a", "k", "parked", nest=Settle(checkpoints=[])),
        scene.outcome("a", "k", "parked", nest=Settle(checkpoints=nest.checkpoints, tasks=mixed)),
    ]
    for outcome in bad:
        try:
            scene.store.finish(scene.id("w"), "s", [outcome])
        except InputError:
            continue
        raise AssertionError(f"it took {outcome!r}")
    same(scene.statuses("a"), ["claimed"], "the task")
