"""Checks of ``recent``, ``expired`` and ``delete_thread``: which threads are old, and their removal."""

from __future__ import annotations

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.errors import InputError
from petiole_stores.records import Blob, RunFilter

PAGES = 100_000


def _recent(scene: Scene, cursor: str) -> tuple[list[str], str]:
    """This scene's threads among the recent ones, by name, page by page to the end; and the cursor at the end."""
    found: list[str] = []
    for _ in range(PAGES):
        page, cursor = scene.store.recent(cursor, limit=3)
        holds(len(page) <= 3 and len(set(page)) == len(page), f"a page has each thread once: {page}")
        found += page
        if not page:
            mine = {thread for thread in found if thread.startswith(scene.prefix)}
            return sorted(thread.removeprefix(f"{scene.prefix}-") for thread in mine), cursor
    raise AssertionError("recent() never comes to an end")


def _expired(scene: Scene, **ages: float) -> list[str]:
    found = scene.store.expired(ages, limit=1_000_000)
    return sorted(t.removeprefix(f"{scene.prefix}-") for t in found if t.startswith(scene.prefix))


@LEDGER
def recent_threads(scene: Scene) -> None:
    """Threads that got checkpoints since a cursor are given, page by page, by whomever they were made."""
    _, cursor = _recent(scene, "")
    for number in range(4):
        scene.begin(f"a{number}", run=f"r{number}", thread=f"t{number}")
    scene.save("x", "t4")
    scene.submit("r5", "t5")
    found, cursor = _recent(scene, cursor)
    same(found, ["t0", "t1", "t2", "t3", "t4"], "the first walk; a run without a checkpoint is not recent")
    found, cursor = _recent(scene, cursor)
    same(found, [], "the next walk")
    scene.claimed("a2", "k")
    scene.finished("a2", "k", settle=scene.settle("c1", "r2.c0"))
    found, cursor = _recent(scene, cursor)
    same(found, ["t2"], "the walk after one more checkpoint")


@LEDGER
def recent_after_the_latest(scene: Scene) -> None:
    """From the latest cursor only threads are given that get checkpoints later; an empty one promises less."""
    scene.begin("a", run="r1", thread="t1")
    cursor = scene.store.latest()
    if cursor:
        same(_recent(scene, cursor)[0], [], "at once")
    scene.begin("b", run="r2", thread="t2")
    found, _ = _recent(scene, cursor)
    same([name for name in found if cursor or name != "t1"], ["t2"], "after one more checkpoint")


@LEDGER
def expired_threads(scene: Scene) -> None:
    """A thread whose newest run settled longer ago than its status allows has expired; statuses not named never do."""
    for number, status in enumerate(("succeeded", "failed", "cancelled")):
        scene.begin(f"a{number}", run=f"r{number}", thread=status)
        if status == "cancelled":
            scene.store.cancel(scene.ids(f"r{number}"))
            continue
        scene.claimed(f"a{number}", "k")
        settle = scene.settle(f"c{number}", f"r{number}.c0") if status == "succeeded" else None
        scene.finished(f"a{number}", "k", "failed" if settle is None else "done", settle=settle)
    scene.begin("b", run="running", thread="running")
    scene.save("x", "by hand")
    scene.tick(10)
    same(_expired(scene, succeeded=10.0, failed=9.0, cancelled=11.0), ["failed"], "after 10 s")
    scene.tick(0.25)
    same(_expired(scene, succeeded=10.0, failed=9.0), ["failed", "succeeded"], "after 10.25 s")
    same(_expired(scene, cancelled=0.0), ["cancelled"], "with an age of 0")
    same(scene.store.expired({}), [], "no ages")
    same(len(scene.store.expired({"succeeded": 0.0, "failed": 0.0, "cancelled": 0.0}, limit=2)), 2, "a limit")


@LEDGER
def expired_looks_at_the_newest_run(scene: Scene) -> None:
    """A thread with an active run has not expired, nor has one whose newest run is young or of another status."""
    for thread in ("t1", "t2", "t3"):
        scene.submit(f"{thread}.old", thread)
        scene.store.cancel(scene.ids(f"{thread}.old"))
    scene.tick(100)
    scene.submit("t1.new", "t1")
    scene.begin("a", run="t2.new", thread="t2")
    scene.claimed("a", "k")
    scene.finished("a", "k", "failed")
    same(_expired(scene, cancelled=50.0), ["t3"], "the cancelled ones")
    same(_expired(scene, cancelled=50.0, failed=50.0), ["t3"], "with the failed")
    scene.store.cancel(scene.ids("t1.new"))
    scene.tick(51)
    same(_expired(scene, cancelled=50.0, failed=50.0), ["t1", "t2", "t3"], "later")
    same(
        scene.store.replay(scene.id("t2.new"), [(scene.id("a"), scene.id("a2"))]).result,
        "committed",
        "a replay",
    )
    same(_expired(scene, cancelled=50.0, failed=50.0), ["t1", "t3"], "with one of them active again")


@LEDGER
def expired_checks_its_ages(scene: Scene) -> None:
    """Ages are seconds from 0 on for settled statuses; anything else is an InputError."""
    for ages in ({"running": 1.0}, {"succeeded": -1.0}, {"gone": 1.0}):
        try:
            scene.store.expired(ages)
        except InputError:
            continue
        raise AssertionError(f"it took {ages}")


@LEDGER
def delete_thread_removes_all(scene: Scene) -> None:
    """A deleted thread has no runs, tasks, checkpoints, heads or blobs; others keep theirs. Again it is gone too."""
    blob = Blob(digest="d", codec="raw", data=b"x", checksum="s")
    for run, thread in (("r", "t"), ("other", "t2")):
        scene.begin(
            f"{run}.a", run=run, thread=thread, blobs=[blob], tags=["x"], idempotency_key=scene.id(run)
        )
    scene.submit("r2", if_busy="enqueue")
    scene.store.cancel(scene.ids("r", "r2"))
    scene.save("sub", ns="sub")
    before = scene.snapshot(["t2"])
    same(scene.store.delete_thread(scene.id("t")), True, "the answer")
    store, thread = scene.store, scene.id("t")
    same([store.get_run(run) for run in scene.ids("r", "r2")], [None, None], "its runs")
    same(store.list_runs(RunFilter(thread_id=thread)).runs, [], "the list of its runs")
    same((store.list_tasks(scene.id("r")), scene.claim("r.a", "k").reason), ([], "missing"), "its tasks")
    same(store.list_checkpoints(thread, ns=None), [], "its checkpoints")
    same(
        (store.head(thread), store.head(thread, "sub"), store.get_blobs(thread, ["d"])),
        (None, None, {}),
        "the rest",
    )
    same(store.newest_run(thread), None, "its newest run")
    same(thread in store.threads(), False, "the list of threads")
    same(_expired(scene, cancelled=0.0), [], "what has expired")
    same(scene.snapshot(["t2"]), before, "another thread")
    same(
        (store.delete_thread(thread), store.delete_thread(scene.id("none"))),
        (True, True),
        "again, and no such one",
    )


@LEDGER
def delete_thread_waits_for_the_run(scene: Scene) -> None:
    """While a run is active nothing is deleted, be it queued, waiting, interrupted or held back."""
    scene.submit("queued", "t1")
    scene.submit("waiting", "t2", delay=10.0)
    scene.begin("a", run="interrupted", thread="t3")
    scene.claimed("a", "k")
    scene.finished("a", "k", "interrupted")
    scene.begin("b", run="paused", thread="t4")
    scene.store.pause(scene.ids("paused"))
    threads = ["t1", "t2", "t3", "t4"]
    before = scene.snapshot(threads)
    same([scene.store.delete_thread(scene.id(t)) for t in threads], [False] * 4, "the answers")
    same(scene.snapshot(threads), before, "the store after it")


@LEDGER
def delete_thread_frees_its_names(scene: Scene) -> None:
    """A deleted thread can be begun anew under the same names, and knows nothing of its earlier life."""
    scene.chain("c1")
    scene.end("c1", "c2")
    scene.store.delete_thread(scene.id("t"))
    late = scene.finish("c1.next", "c1.k", settle=scene.settle("c2", "c1"))
    same((late.result, late.reason), ("refused", "missing"), "a finish of its earlier life")
    same(scene.submit().result, "committed", "the same submit again")
    same(
        (scene.head(), scene.task("r.start").checkpoint_id, scene.task("r.start").attempt),
        (None, None, 0),
        "its start",
    )
    scene.claimed("r.start", "r.start.k")
    scene.finished("r.start", "r.start.k", settle=scene.settle("r.c0", None))
    same(
        (scene.run().status, scene.history(), len(scene.tasks())), ("succeeded", ["r.c0"], 1), "its new life"
    )
