"""Checks of what goes wrong in a namespace: failures, deaths, deadlines and cancels, and the replay after them."""

from __future__ import annotations

from typing import Any

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document


def two_levels(scene: Scene, **fields: Any) -> None:
    """A run of ``a`` and ``b``; ``a`` waits for ``x`` and ``y`` of a:1, ``x`` for ``z`` and ``v`` of a:1|x:1."""
    scene.begin("a", "b", **fields)
    scene.claimed("a", "na")
    scene.nest("a", "na", "a:1", "i0", "x", "y")
    scene.claimed("x", "nx")
    scene.nest("x", "nx", "a:1|x:1", "j0", "z", "v")


def _replay(scene: Scene, *names: str) -> str:
    """Replay with a new task ``<name>2`` for each name; the answer's result, or why it was refused."""
    pairs = [(scene.id(name), scene.id(f"{name}2")) for name in names]
    answer = scene.store.replay(scene.id("r"), pairs)
    return answer.reason or answer.result


@LEDGER
def inside_a_failure_counts_down_level_by_level(scene: Scene) -> None:
    """A failed leaf waits for its siblings; then its owner fails with its error, which waits for its own siblings."""
    two_levels(scene)
    same(scene.take("z", "failed").open, 1, "open beside the leaf")
    same(scene.statuses("a", "x"), ["parked", "parked"], "the owners meanwhile")
    scene.tick(1)
    answer = scene.take("v")
    same((answer.open, answer.run_status, answer.advance), (0, "running", None), "the leaf's last sibling")
    owner = scene.task("x")
    same((owner.status, owner.ended_at), ("failed", scene.now), "its owner")
    same(document(owner.error), {"type": "ValueError", "message": "z"}, "the owner's error: the leaf's")
    same(scene.statuses("a"), ["parked"], "the owner above")
    scene.take("y")
    same((scene.statuses("a"), scene.run().status), (["failed"], "running"), "with its sibling ended")
    same(scene.take("b").run_status, "failed", "with the root's ended")
    same(document(scene.run().error), {"type": "ValueError", "message": "z"}, "the run's error")
    same((scene.head(), scene.submit("r2").result), ("r.c0", "committed"), "the head, the next run")


@LEDGER
def inside_the_last_to_end_ends_all_levels(scene: Scene) -> None:
    """A leaf that is the last open one of every level ends them all in its finish."""
    two_levels(scene)
    for task in ("b", "y", "v"):
        scene.take(task)
    scene.submit("r2", if_busy="enqueue")
    answer = scene.take("z", "failed")
    same((answer.run_status, scene.names(answer.publish)), ("failed", ["r2.start"]), "the answer")
    same(scene.statuses("a", "x", "z"), ["failed"] * 3, "the leaf and its owners")


@LEDGER
def inside_a_cancelled_leaf(scene: Scene) -> None:
    """A leaf that ends as cancelled cancels its owners and, the siblings ended, the run."""
    two_levels(scene)
    for task in ("b", "y", "v"):
        scene.take(task)
    same(scene.take("z", "cancelled").run_status, "cancelled", "the run")
    same(scene.statuses("a", "x", "z"), ["cancelled"] * 3, "the leaf and its owners")


@LEDGER
def inside_a_worker_lost(scene: Scene) -> None:
    """A leaf whose process has died too often fails as WorkerLost, and its owners and the run with it."""
    scene.begin("a")
    scene.submit("r2", if_busy="enqueue")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x", "y")
    scene.take("y")
    for number in range(scene.store.max_crashes):
        scene.claimed("x", f"kx{number}")
        refs = scene.store.release(scene.id("w"), crashed=True)
    same(scene.names(refs), ["r2.start"], "what is ready")
    for task in ("x", "a"):
        error = document(scene.task(task).error)
        same((error["type"], error["node"]), ("WorkerLost", "x"), f"the error of {task}")
    same((scene.statuses("x", "a"), scene.run().status), (["failed", "failed"], "failed"), "tasks and run")


@LEDGER
def inside_a_replay_of_a_leaf(scene: Scene) -> None:
    """A replay replaces the leaf alone; its owners wait again, and finished siblings are kept at every level."""
    two_levels(scene)
    for task in ("b", "y", "v"):
        scene.take(task)
    scene.take("z", "failed")
    before = scene.snapshot()
    for wrong in ((), ("a", "x", "z"), ("x",), ("a",), ("z", "v")):
        same(_replay(scene, *wrong), "stale", f"replacing {wrong}")
    same(scene.snapshot(), before, "the store after it")
    scene.tick(1)
    answer = scene.store.replay(scene.id("r"), [(scene.id("z"), scene.id("z2"))])
    same((answer.result, scene.names(answer.publish)), ("committed", ["z2"]), "the replay")
    same(scene.statuses("a", "x", "z2"), ["parked", "parked", "ready"], "owners and leaf")
    for owner in (scene.task("a"), scene.task("x")):
        same((owner.error, owner.ended_at, owner.replaced), (None, None, False), f"the owner {owner.node}")
    before = scene.snapshot()
    same((_replay(scene, "z"), scene.snapshot()), ("already", before), "the same again")
    advance = scene.take("z2").advance
    same([o.node for o in advance.outputs] if advance else [], ["v", "z"], "the outputs at depth two")
    settle = scene.settle("j1", "j0", ns="a:1|x:1")
    scene.finished("z2.adv", "kz2.adv", slot="z2", settle=settle)
    advance = scene.take("x").advance
    same([o.node for o in advance.outputs] if advance else [], ["x", "y"], "at depth one")
    scene.finished("x.adv", "kx.adv", slot="x", settle=scene.settle("i1", "i0", ns="a:1"))
    advance = scene.take("a").advance
    same([o.node for o in advance.outputs] if advance else [], ["a", "b"], "at the root")
    scene.finished("a.adv", "ka.adv", slot="a", settle=scene.settle("c1", "r.c0"))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def inside_a_replay_at_several_levels(scene: Scene) -> None:
    """Every leaf that failed is replaced, at whatever level; one that fails again can be replayed again."""
    two_levels(scene)
    for task, ending in (("z", "failed"), ("v", "failed"), ("y", "failed"), ("b", "failed")):
        scene.take(task, ending)
    same(scene.run().status, "failed", "the run")
    same(_replay(scene, "b", "y", "z"), "stale", "without one of them")
    same(_replay(scene, "b", "y", "z", "v"), "committed", "the replay")
    same(scene.statuses("a", "x"), ["parked", "parked"], "the owners")
    for task, left in (("z2", 1), ("y2", 1), ("b2", 1)):
        same(scene.take(task).open, left, f"open after {task}")
    same(scene.take("v2", "failed").run_status, "failed", "the last leaf")
    same(_replay(scene, "v2"), "committed", "the second replay")
    same(scene.statuses("a", "x", "v22"), ["parked", "parked", "ready"], "owners and leaf")
    advance = scene.take("v22").advance
    same([o.path for o in advance.outputs] if advance else [], ["pull:v", "pull:z"], "the outputs")


@LEDGER
def inside_a_replay_of_an_advance(scene: Scene) -> None:
    """An advance inside that failed is replayed without running its nodes again."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x", "y")
    scene.take("x")
    scene.take("y")
    answer = scene.finished("y.adv", "ky.adv", "failed", slot="y")
    same((answer.run_status, scene.statuses("a")), ("failed", ["failed"]), "the run, the owner")
    same(_replay(scene, "y.adv"), "committed", "the replay")
    claim = scene.claimed("y.adv2", "k2")
    same((claim.task.ns, [o.node for o in claim.outputs]), ("a:1", ["x", "y"]), "the new advance")


@LEDGER
def inside_an_owner_that_fails_by_itself(scene: Scene) -> None:
    """An owner that fails after its namespace's end is replaced; the new one's claim has the namespace's head."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.take("x", settle=scene.settle("i1", "i0", ns="a:1"))
    same(scene.take("a", "failed").run_status, "failed", "the run")
    same(_replay(scene, "x"), "stale", "replacing the leaf")
    same(_replay(scene, "a"), "committed", "the replay")
    same((scene.task("a2").child, scene.statuses("a", "a2")), ("a:1", ["failed", "ready"]), "the new owner")
    claim = scene.claimed("a2", "k2")
    same(claim.child and scene.name(claim.child), "i1", "what it goes on with")
    answer = scene.nest("a2", "k2", "a:1", "i2", "y", parent="i1")
    same((answer.open, scene.statuses("a2")), (1, ["parked"]), "going on in the namespace")
    answer = scene.take("y", settle=scene.settle("i3", "i2", ns="a:1"))
    same(scene.names(answer.publish), ["a2"], "who is ready")


@LEDGER
def inside_a_replay_after_the_root_has_gone_on(scene: Scene) -> None:
    """A failed leaf cannot be replayed when the thread's root, or its own namespace, has gone on since."""
    for thread, root in (("t", True), ("t2", False)):
        run = f"r{thread}"
        a, x = f"{thread}a", f"{thread}x"
        scene.begin(a, run=run, thread=thread)
        scene.claimed(a, "k")
        scene.nest(a, "k", "a:1", f"{thread}i0", x)
        scene.take(x, "failed")
        scene.save(
            f"{thread}h", thread, parent=f"{run}.c0" if root else f"{thread}i0", ns="" if root else "a:1"
        )
        answer = scene.store.replay(scene.id(run), [(scene.id(x), scene.id(f"{x}2"))])
        same(answer.reason, "head moved", f"the replay of {x}")


@LEDGER
def inside_a_deadline(scene: Scene) -> None:
    """At its deadline a run fails with all its open tasks, at every level; a replay replaces the leaves alone."""
    two_levels(scene, deadline=scene.now + 10)
    scene.take("v")
    scene.claimed("y", "ky")
    scene.tick(11)
    same(scene.store.sweep().expired, scene.ids("r"), "what has expired")
    same(scene.statuses("a", "b", "x", "y", "z", "v"), [*["failed"] * 5, "done"], "the tasks")
    same(document(scene.task("x").error)["type"], "DeadlineExceeded", "an owner's error")
    same(scene.finish("y", "ky").reason, "fenced", "a finish after it")
    same(_replay(scene, "b", "y", "z"), "committed", "the replay")
    same(scene.statuses("a", "x", "y2", "z2"), ["parked", "parked", "ready", "ready"], "the tasks after it")
    scene.worker()
    same(scene.take("z2").advance is not None, True, "the leaf's finish holds the advance")
    same((scene.take("y2").open, scene.take("b2").open), (1, 1), "open after each sibling")


@LEDGER
def inside_a_cancel(scene: Scene) -> None:
    """A cancel ends the tasks of every level; the thread goes on with another run, in new namespaces and old ones."""
    two_levels(scene)
    scene.claimed("z", "kz")
    scene.take("v", "interrupted")
    scene.tick(1)
    same(scene.store.cancel(scene.ids("r"))[0].result, "committed", "the cancel")
    same(scene.statuses("a", "b", "x", "y", "z", "v"), ["cancelled"] * 6, "the tasks")
    same(scene.finish("z", "kz").reason, "run cancelled", "a finish after it")
    scene.begin("n", run="r2", parent="r.c0")
    scene.claimed("n", "kn")
    scene.nest("n", "kn", "a:1", "i1", "m", parent="i0")
    answer = scene.take("m", settle=scene.settle("i2", "i1", ns="a:1"))
    same((answer.open, scene.names(answer.publish)), (0, ["n"]), "the end of the namespace")


@LEDGER
def inside_held_back(scene: Scene) -> None:
    """What goes on inside a paused run settles and wakes its owner; nothing of it is claimed until the unpause."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.store.pause(scene.ids("r"))
    taken = scene.new_task("x", token=scene.id("kx"))
    answer = scene.finished("a", "k", "parked", nest=scene.settle("i0", None, taken, ns="a:1"))
    same((answer.run_status, scene.statuses("a", "x")), ("paused", ["parked", "ready"]), "a nest")
    same((scene.task("x").token, scene.claim("x", "kx").reason), (None, "run paused"), "its task")
    same(scene.names(scene.store.unpause(scene.ids("r"))[0].publish), ["x"], "the unpause: the owner waits")
    scene.claimed("x", "kx2")
    scene.store.pause(scene.ids("r"))
    answer = scene.finished("x", "kx2", settle=scene.settle("i1", "i0", ns="a:1"))
    same((answer.run_status, scene.statuses("a")), ("paused", ["ready"]), "the end")
    same(scene.claim("a", "k2").reason, "run paused", "a claim of the owner")
    same(scene.names(scene.store.unpause(scene.ids("r"))[0].publish), ["a"], "the second unpause")
    scene.claimed("a", "k2")
    scene.store.pause(scene.ids("r"))
    scene.nest("a", "k2", "a:2", "j0", "q", status="interrupted")
    same(scene.run().status, "interrupted", "a nest that waits wins over the pause")


@LEDGER
def inside_a_dead_worker(scene: Scene) -> None:
    """The death of a leaf's worker has the leaf ready again; the owner's worker is of no account meanwhile."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x")
    scene.worker("w2")
    scene.claimed("x", "kx", holder="w2")
    same(scene.store.release(scene.id("w")), [], "a release by who has nested")
    scene.tick(16)
    scene.store.sweep()
    same(scene.statuses("a", "x"), ["parked", "ready"], "after both have died")
    same(
        scene.finish("x", "kx", holder="w2", settle=scene.settle("i1", "i0", ns="a:1")).result,
        "committed",
        "x",
    )
    same(scene.statuses("a"), ["ready"], "the owner")


@LEDGER
def inside_a_trim(scene: Scene) -> None:
    """A namespace that dies with its owner goes when the owner's task goes; one that outlives it is kept."""
    scene.begin("a")
    before = "r.c0"
    for number, (task, ns) in enumerate((("a", "a:1"), ("b", "sub"), ("c", "c:1"))):
        scene.claimed(task, f"n{number}")
        scene.nest(task, f"n{number}", ns, f"i{number}", f"x{number}")
        scene.claimed(f"x{number}", f"nx{number}")
        scene.nest(f"x{number}", f"nx{number}", f"{ns}|x:1", f"j{number}")
        scene.take(f"x{number}", settle=scene.settle(f"i{number}b", f"i{number}", ns=ns))
        after = {"a": "b", "b": "c", "c": "d"}[task]
        scene.take(task, settle=scene.settle(f"c{number}", before, scene.new_task(after)))
        before = f"c{number}"
    done = scene.store.trim(scene.id("t"), 1)
    same((done.checkpoints, done.tasks), (5, 3), "what it removed")
    same(scene.history(), ["c2", "c1"], "the root's history")
    found = {ns: scene.history(ns=ns) for ns in ("a:1", "a:1|x:1", "sub", "sub|x:1", "c:1", "c:1|x:1")}
    kept = {"sub": ["i1b", "i1"], "sub|x:1": ["j1"], "c:1": ["i2b", "i2"], "c:1|x:1": ["j2"]}
    same(found, {"a:1": [], "a:1|x:1": [], **kept}, "the namespaces' histories")
    same(scene.store.head(scene.id("t"), "a:1"), None, "the head of one that is gone")
    same(scene.store.trim(scene.id("t"), 1).checkpoints, 0, "the same again")


@LEDGER
def inside_a_trim_of_what_goes_on(scene: Scene) -> None:
    """A trim leaves open namespaces, their owners and what they wait for."""
    two_levels(scene)
    same(scene.store.trim(scene.id("t"), 1).checkpoints, 0, "what it removed")
    scene.take("z", "interrupted")
    for task in ("v", "y", "b"):
        scene.take(task)
    same((scene.run().status, scene.store.trim(scene.id("t"), 1).checkpoints), ("interrupted", 0), "waiting")
    scene.store.resume(scene.id("r"))
    claim = scene.claimed("z", "kz2")
    same(claim.base and scene.name(claim.base), "j0", "the base of the leaf")


@LEDGER
def inside_a_deleted_thread(scene: Scene) -> None:
    """With a thread go all its namespaces; its name begins anew."""
    two_levels(scene)
    same(scene.store.delete_thread(scene.id("t")), False, "while its run is active")
    scene.store.cancel(scene.ids("r"))
    same(scene.store.delete_thread(scene.id("t")), True, "afterwards")
    same((scene.history(ns=None), scene.store.head(scene.id("t"), "a:1")), ([], None), "what is left")
    scene.begin("n", run="r2")
    scene.claimed("n", "kn")
    scene.nest("n", "kn", "a:1", "n0", "m")
    same(scene.history(ns="a:1"), ["n0"], "the namespace of its next life")
