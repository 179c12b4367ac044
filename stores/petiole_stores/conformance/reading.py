"""Checks of what the ledger shows, and of how checkpoints by hand and runs meet on one thread."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.errors import ConflictError, InputError, NotFoundError
from petiole_stores.records import RunFilter


@LEDGER
def read_nothing(scene: Scene) -> None:
    """What does not exist is None or empty."""
    store = scene.store
    found = (
        store.get_run("x-none"),
        store.head("x-none"),
        store.get_checkpoint("x-none"),
        store.newest_run("x-none"),
    )
    same(found, (None, None, None, None), "single things")
    lists = (store.list_tasks("x-none"), store.list_checkpoints("x-none"), store.get_blobs("x-none", ["d"]))
    same(lists, ([], [], {}), "lists")


@LEDGER
def list_runs_newest_first(scene: Scene) -> None:
    """Runs come newest first, page by page without gaps or repeats, narrowed by every filter."""
    graph = scene.id("graph")
    for index in range(5):
        tags = ["even"] if index % 2 == 0 else ["odd", "x"]
        scene.submit(f"r{index}", f"t{index}", graph=graph, tags=tags)
        scene.tick(1)
    scene.store.cancel(scene.ids("r1"))
    names, cursor = [], None
    for _ in range(3):
        page = scene.store.list_runs(RunFilter(graph=graph, limit=2, cursor=cursor))
        names += [run.run_id for run in page.runs]
        cursor = page.next
    same((names, cursor), (scene.ids("r4", "r3", "r2", "r1", "r0"), None), "three pages of two")

    def listed(**filters: object) -> list[str]:
        runs = scene.store.list_runs(RunFilter(graph=graph, **filters)).runs  # type: ignore[arg-type]
        return [run.run_id.removeprefix(f"{scene.prefix}-") for run in runs]

    same(listed(status=["cancelled"]), ["r1"], "one status")
    same(listed(status=["cancelled", "queued"], tag="odd"), ["r3", "r1"], "two statuses and a tag")
    same(listed(thread_id=scene.id("t2")), ["r2"], "a thread")
    same(
        listed(since=scene.now - 4, until=scene.now - 2),
        ["r2", "r1"],
        "a time: from, inclusive, to, exclusive",
    )
    same(scene.store.list_runs(RunFilter(graph="x-none")).runs, [], "another graph")
    same(
        scene.store.list_runs(RunFilter(graph=graph, limit=5)).next, None, "a page that holds all has no next"
    )


@LEDGER
def list_runs_checks_its_limit(scene: Scene) -> None:
    """A limit outside 1 to 1000 is an InputError."""
    for limit in (0, 1001):
        try:
            scene.store.list_runs(RunFilter(limit=limit))
        except InputError:
            continue
        raise AssertionError(f"it took the limit {limit}")


@LEDGER
def newest_run_of_a_thread(scene: Scene) -> None:
    """The newest run is the one submitted last, though it be queued."""
    scene.submit()
    scene.submit("r2", if_busy="enqueue")
    run = scene.store.newest_run(scene.id("t"))
    same(run and run.run_id, scene.id("r2"), "the newest")


@LEDGER
def list_tasks_in_order(scene: Scene) -> None:
    """Tasks are listed in the order they were made."""
    scene.begin("b", "a", "c")
    same(list(scene.tasks()), ["r.start", "b", "a", "c"], "the tasks")


@LEDGER
def history_newest_first(scene: Scene) -> None:
    """Checkpoints are listed newest first by ``seq``, which rises; ``before`` and ``limit`` page through them."""
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        scene.save(name, parent=parent)
    found = scene.store.list_checkpoints(scene.id("t"))
    same([scene.name(c) for c in found], ["c", "b", "a"], "history")
    same([c.seq for c in found], sorted({c.seq for c in found}, reverse=True), "seq")
    older = scene.store.list_checkpoints(scene.id("t"), before=found[0].seq, limit=1)
    same([scene.name(c) for c in older], ["b"], "one before the newest")
    same(scene.store.list_checkpoints(scene.id("t"), ns="sub"), [], "another namespace")
    same(len(scene.store.list_checkpoints(scene.id("t"), ns=None)), 3, "all namespaces")


@LEDGER
def save_by_hand_moves_the_head(scene: Scene) -> None:
    """Without an active run a saved checkpoint is the head; while one is active the head stays."""
    scene.save("a")
    same(scene.head(), "a", "the head")
    scene.begin("n", parent="a")
    scene.save("b", parent="a")
    same(scene.head(), "r.c0", "the head while a run is active")
    scene.claimed("n", "k")
    scene.finished("n", "k", settle=scene.settle("c1", "r.c0"))
    scene.save("c", parent="c1")
    same(scene.head(), "c", "the head after the run")


@LEDGER
def save_again_keeps_its_place(scene: Scene) -> None:
    """A checkpoint saved again under its id replaces the old one, keeps its place and moves no head."""
    scene.save("a")
    scene.save("b", parent="a")
    scene.save("a")
    same(scene.head(), "b", "the head")
    same([scene.name(c) for c in scene.store.list_checkpoints(scene.id("t"))], ["b", "a"], "history")


@LEDGER
def delete_mends_the_head(scene: Scene) -> None:
    """When the head is deleted its parent is the head; without a parent, the newest left."""
    for name, parent in (("a", None), ("b", "a"), ("c", "a")):
        scene.save(name, parent=parent)
    scene.store.delete(scene.id("c"))
    same(scene.head(), "a", "the parent")
    scene.store.delete(scene.id("a"))
    same(scene.head(), "b", "the newest left")
    scene.store.delete(scene.id("b"))
    same(scene.head(), None, "nothing left")
    try:
        scene.store.load(scene.id("b"))
    except NotFoundError:
        return
    raise AssertionError("a deleted checkpoint was loaded")


@LEDGER
def delete_and_clear_wait_for_the_run(scene: Scene) -> None:
    """While a run is active nothing of its thread is deleted or cleared; afterwards clear keeps the runs."""
    scene.begin("a")
    before = scene.snapshot()
    for action, name in ((scene.store.delete, "r.c0"), (scene.store.clear, "t")):
        try:
            action(scene.id(name))
        except ConflictError:
            continue
        raise AssertionError(f"{action.__name__} was done while a run is active")
    same(scene.snapshot(), before, "the store after it")
    scene.store.cancel(scene.ids("r"))
    scene.store.clear(scene.id("t"))
    same((scene.head(), scene.store.list_checkpoints(scene.id("t"))), (None, []), "the checkpoints")
    same((scene.run().status, len(scene.tasks())), ("cancelled", 2), "the run and its tasks")
    scene.begin("n", run="r2")
    same(scene.head(), "r2.c0", "a new run")
