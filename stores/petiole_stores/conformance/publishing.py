"""Checks of ``due``, ``postpone`` and ``backlogs``: the outbox."""

from __future__ import annotations

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene


@LEDGER
def due_after_grace(scene: Scene) -> None:
    """A ready task is due ``grace`` seconds after its commit; picking it pushes it on, doubling up to the most."""
    scene.worker()
    scene.submit()
    scene.tick(scene.store.grace - 0.25)
    same(scene.due(), [], "before its grace is over")
    scene.tick(0.25)
    refs = scene.store.due(queue=scene.queue)
    same(scene.names(refs), ["r.start"], "at its grace")
    same((refs[0].graph, refs[0].thread_id, refs[0].priority), ("g", scene.id("t"), "default"), "the ref")
    same(scene.due(), [], "the same moment once more")
    for push in range(1, 8):
        task = scene.task("r.start")
        delay = min(scene.store.grace * 2.0**push, scene.store.max_backoff)
        same(
            (task.publishes, task.next_publish, task.published_at),
            (push, scene.now + delay, scene.now),
            f"push {push}",
        )
        scene.tick(delay)
        same(scene.due(), ["r.start"], f"after push {push}")
    same(scene.task("r.start").next_publish, scene.now + scene.store.max_backoff, "the longest push")


@LEDGER
def due_in_order(scene: Scene) -> None:
    """The oldest ``next_publish`` comes first, and no more than ``limit``."""
    for index in range(4):
        scene.submit(f"r{index}", f"t{index}")
        scene.tick(1)
    scene.store.postpone(scene.ids("r0.start"), 0)
    scene.tick(20)
    same(scene.due(limit=2), ["r0.start", "r1.start"], "the first two")
    same(scene.due(limit=5), ["r2.start", "r3.start"], "the rest")


@LEDGER
def due_by_queue_and_priority(scene: Scene) -> None:
    """``queue`` and ``priority`` narrow the choice; a recovered task counts as high."""
    scene.begin("a")
    scene.claimed("a", "k")
    tasks = [
        scene.new_task("b", priority="low"),
        scene.new_task("c", priority="high"),
        scene.new_task("d"),
        scene.new_task("e", queue=scene.id("q2")),
    ]
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0", *tasks))
    scene.claimed("b", "kb")
    scene.store.release(scene.id("w"))
    scene.tick(10)
    same(scene.due(priority="low"), [], "low")
    same(sorted(scene.due(priority="high")), ["b", "c"], "high")
    same(scene.due(), ["d"], "the rest of the queue")
    same(scene.names(scene.store.due(queue=scene.id("q2"))), ["e"], "the other queue")


@LEDGER
def due_early_for_an_empty_queue(scene: Scene) -> None:
    """With ``published_before`` those last published before it are picked though not due; no others."""
    scene.submit()
    scene.tick(1)
    scene.submit("r2", "t2")
    same(scene.due(published_before=scene.now), ["r.start"], "the one made earlier")
    same(scene.due(published_before=scene.now), [], "the same once more")
    scene.tick(1)
    same(sorted(scene.due(published_before=scene.now)), ["r.start", "r2.start"], "both, a second later")


@LEDGER
def due_skips_what_cannot_run(scene: Scene) -> None:
    """Tasks of runs that are settled, and claimed or ended tasks, are never due."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.store.cancel(scene.ids("r"))
    scene.tick(1000)
    same((scene.due(), scene.ready()), ([], 0), "due and backlog")


@LEDGER
def postpone_sets_the_time(scene: Scene) -> None:
    """Postponed ready tasks are due after the delay, 0: at once; others are left alone."""
    scene.begin("a", "b", "c")
    scene.claimed("c", "k")
    scene.store.postpone(scene.ids("a", "c", "missing"), 60)
    scene.store.postpone(scene.ids("b"), 0)
    same(scene.task("c").next_publish, None, "the claimed one")
    same(scene.due(), ["b"], "at once")
    scene.tick(59.75)
    same("a" in scene.due(published_before=scene.now), False, "a before its time, its queue seen empty")
    scene.tick(0.25)
    same("a" in scene.due(), True, "a at its time")


@LEDGER
def backlogs_count(scene: Scene) -> None:
    """Backlogs count ready tasks by queue and priority, and change nothing; a sweep's are the same."""
    scene.submit()
    scene.tick(2)
    low = scene.new_task("r2.start", path="start", node="start", kind="advance", priority="low")
    scene.submit("r2", "t2", start=low)
    scene.submit("r3", "t3")
    scene.tick(scene.store.grace - 1)
    before = scene.snapshot(["t", "t2", "t3"])
    found = [b for b in scene.store.backlogs() if b.queue == scene.queue]
    rows = [(b.priority, b.ready, b.due, b.oldest) for b in found]
    made = scene.now - scene.store.grace - 1
    same(rows, [("default", 2, 1, made), ("low", 1, 0, made + 2)], "the backlogs")
    same(scene.snapshot(["t", "t2", "t3"]), before, "the store after it")
    same([b for b in scene.store.sweep().backlogs if b.queue == scene.queue], found, "the sweep's")
    everything = [(b.queue, b.priority) for b in scene.store.backlogs()]
    holds(everything == sorted(everything), "backlogs are sorted by queue and priority")
