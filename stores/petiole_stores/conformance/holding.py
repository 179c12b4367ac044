"""Checks of ``pause``, ``unpause``, ``block`` and ``unblock``: who may call them when, and what they answer.

What a run that is held back still does is in :mod:`petiole_stores.conformance.held`.
"""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import Answer, RunFilter


def _said(answers: Sequence[Answer]) -> list[str]:
    return [answer.reason or answer.result for answer in answers]


def _one_of_each(scene: Scene) -> list[str]:
    """Runs in every status that is not held back, by that status; ``behind`` is queued behind the running one."""
    scene.begin("a", run="running", thread="t1")
    scene.submit("behind", "t1", if_busy="enqueue")
    scene.submit("queued", "t2")
    scene.submit("waiting", "t3", run_at=scene.now + 100)
    for number, (run, ending) in enumerate(
        (("interrupted", "interrupted"), ("failed", "failed"), ("cancelled", "cancelled")), 4
    ):
        scene.begin(f"{run}.a", run=run, thread=f"t{number}")
        scene.claimed(f"{run}.a", "k")
        scene.finished(f"{run}.a", "k", ending)
    scene.begin("s", run="succeeded", thread="t7")
    scene.claimed("s", "ks")
    scene.finished("s", "ks", settle=scene.settle("s1", "succeeded.c0"))
    return [f"t{number}" for number in range(1, 8)]


@LEDGER
def pause_holds_a_run_back(scene: Scene) -> None:
    """A paused run says why; nothing of it is claimed, due or counted as waiting for a worker."""
    scene.begin("a", "b")
    scene.claimed("a", "ka")
    answer = scene.store.pause(scene.ids("r"), reason='a "look" first')[0]
    same((answer.run_id, answer.result, answer.publish), (scene.id("r"), "committed", []), "the answer")
    run = scene.run()
    same((run.status, run.ended_at), ("paused", None), "the run")
    same(document(run.reason), {"type": "Paused", "message": 'a "look" first'}, "its reason")
    refused = scene.claim("b", "kb", slot="s2")
    same((refused.result, refused.reason, refused.claim), ("refused", "run paused", None), "a claim of it")
    scene.tick(1000)
    same((scene.due(), scene.ready()), ([], 0), "due and backlog")
    found = scene.store.list_runs(RunFilter(status=["paused"], thread_id=scene.id("t"))).runs
    same([found.run_id for found in found], scene.ids("r"), "the list of paused runs")
    same(scene.submit("r2").reason, "busy", "another run on the thread")


@LEDGER
def pause_by_status(scene: Scene) -> None:
    """Active runs that are queued, running or waiting can be paused; all others are refused with their reason."""
    threads = _one_of_each(scene)
    names = ["missing", "behind", "interrupted", "failed", "cancelled", "succeeded"]
    before = scene.snapshot(threads)
    wanted = ["missing", "not active", *(f"run {name}" for name in names[2:])]
    same(_said(scene.store.pause(scene.ids(*names))), wanted, "the refusals")
    same(_said(scene.store.block(scene.ids(*names), kind="Unserved", reason="")), wanted, "those of block")
    same(scene.snapshot(threads), before, "the store after them")
    names = ["queued", "running", "waiting"]
    same(_said(scene.store.pause(scene.ids(*names))), ["committed"] * 3, "the others")
    same({scene.run(name).status for name in names}, {"paused"}, "their status")


@LEDGER
def pause_twice_is_already(scene: Scene) -> None:
    """A paused run is already; its first reason stays. In a batch each run is judged in order."""
    scene.begin("a")
    scene.store.pause(scene.ids("r"), reason="first")
    before = scene.snapshot()
    scene.tick(1)
    answers = scene.store.pause(scene.ids("r", "missing", "r"), reason="second")
    same(_said(answers), ["already", "missing", "already"], "the answers")
    same(scene.snapshot(), before, "the store after it")
    scene.submit("r2", "t2")
    same(
        _said(scene.store.pause(scene.ids("r2", "r2"))), ["committed", "already"], "one run twice in a batch"
    )
    same(scene.store.pause([]), [], "an empty batch")


@LEDGER
def unpause_by_status(scene: Scene) -> None:
    """Only a paused run is unpaused: one that goes on is already, any other is refused with its status."""
    threads = _one_of_each(scene)
    scene.begin("b", run="blocked", thread="t8")
    scene.store.block(scene.ids("blocked"), kind="Unserved", reason="nobody")
    before = scene.snapshot([*threads, "t8"])
    names = [
        "missing",
        "behind",
        "queued",
        "running",
        "waiting",
        "interrupted",
        "failed",
        "cancelled",
        "succeeded",
    ]
    wanted = ["missing", *["already"] * 4, *(f"run {name}" for name in names[5:])]
    same(_said(scene.store.unpause(scene.ids(*names))), wanted, "the answers")
    same(_said(scene.store.unblock(scene.ids(*names))), wanted, "those of unblock")
    same(_said(scene.store.unpause(scene.ids("blocked"))), ["run blocked"], "a blocked one")
    same(scene.snapshot([*threads, "t8"]), before, "the store after them")


@LEDGER
def unpause_goes_on(scene: Scene) -> None:
    """An unpaused run that had started is running; its ready tasks are given for publishing and due at once."""
    scene.begin("a", "b", "c")
    scene.claimed("a", "ka")
    scene.store.pause(scene.ids("r"), reason="why")
    scene.tick(1)
    answer = scene.store.unpause(scene.ids("r"))[0]
    same((answer.result, sorted(scene.names(answer.publish))), ("committed", ["b", "c"]), "the answer")
    run, task = scene.run(), scene.task("b")
    same((run.status, run.reason), ("running", None), "the run")
    same((task.status, task.next_publish, task.publishes), ("ready", scene.now, 0), "a ready task")
    same((scene.task("a").status, scene.task("a").next_publish), ("claimed", None), "the claimed one")
    before = scene.snapshot()
    scene.tick(1)
    same(_said(scene.store.unpause(scene.ids("r"))), ["already"], "the same again")
    same(scene.snapshot(), before, "the store after it")
    same(sorted(scene.due()), ["b", "c"], "what is due")
    scene.claimed("b", "kb", slot="s2")


@LEDGER
def unpause_before_the_start(scene: Scene) -> None:
    """A paused run that never started is queued again, or waiting while its time has not come."""
    scene.submit("r1", "t1")
    scene.submit("r2", "t2", run_at=scene.now + 100)
    scene.store.pause(scene.ids("r1", "r2"))
    answers = scene.store.unpause(scene.ids("r1", "r2"))
    same([scene.names(a.publish) for a in answers], [["r1.start"], []], "what to publish")
    same((scene.run("r1").status, scene.run("r2").status), ("queued", "waiting"), "the runs")
    same(scene.task("r2.start", "r2").status, "parked", "the start that waits")
    scene.tick(100)
    scene.store.sweep()
    same((scene.run("r2").status, sorted(scene.due())), ("queued", ["r1.start", "r2.start"]), "at its time")


@LEDGER
def unpause_after_the_time_has_come(scene: Scene) -> None:
    """A start whose time comes while its run is paused is ready, and not due before the run is unpaused."""
    scene.submit(run_at=scene.now + 10)
    scene.store.pause(scene.ids("r"))
    scene.tick(10)
    scene.store.sweep()
    same((scene.run().status, scene.task("r.start").status, scene.due()), ("paused", "ready", []), "its time")
    scene.tick(1)
    answer = scene.store.unpause(scene.ids("r"))[0]
    same(
        (scene.run().status, scene.names(answer.publish), scene.due()),
        ("queued", ["r.start"], ["r.start"]),
        "then",
    )


@LEDGER
def unpause_after_a_replay(scene: Scene) -> None:
    """A replayed run that is paused before anybody claims had started: unpaused it is running."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", "failed")
    scene.store.replay(scene.id("r"), [(scene.id("a"), scene.id("a2"))])
    same(_said(scene.store.pause(scene.ids("r"))), ["committed"], "the pause of a queued run")
    scene.store.unpause(scene.ids("r"))
    same((scene.run().status, scene.due()), ("running", ["a2"]), "the run and what is due")


@LEDGER
def block_says_why(scene: Scene) -> None:
    """A blocked run keeps the kind and reason; blocked twice it is already; unblocked it goes on."""
    scene.begin("a")
    answer = scene.store.block(scene.ids("r"), kind="Unserved", reason="no worker serves g")[0]
    same((answer.result, answer.publish), ("committed", []), "the answer")
    run = scene.run()
    same(
        (run.status, document(run.reason)),
        ("blocked", {"type": "Unserved", "message": "no worker serves g"}),
        "it",
    )
    same(scene.claim("a", "k").reason, "run blocked", "a claim of it")
    scene.tick(1000)
    same((scene.due(), scene.ready()), ([], 0), "due and backlog")
    before = scene.snapshot()
    same(
        _said(scene.store.block(scene.ids("r"), kind="Corruption", reason="x")), ["already"], "blocked again"
    )
    same(scene.snapshot(), before, "the store after it")
    answer = scene.store.unblock(scene.ids("r"))[0]
    same((answer.result, scene.names(answer.publish)), ("committed", ["a"]), "the unblock")
    same((scene.run().status, scene.run().reason, scene.due()), ("running", None, ["a"]), "the run")
    same(_said(scene.store.unblock(scene.ids("r"))), ["already"], "unblocked again")


@LEDGER
def pause_wins_over_block(scene: Scene) -> None:
    """A blocked run can be paused; a paused one is neither blocked nor unblocked."""
    scene.begin("a")
    scene.store.block(scene.ids("r"), kind="Unserved", reason="nobody")
    same(_said(scene.store.pause(scene.ids("r"), reason="mine")), ["committed"], "a pause of a blocked run")
    run = scene.run()
    same((run.status, document(run.reason)), ("paused", {"type": "Paused", "message": "mine"}), "the run")
    before = scene.snapshot()
    same(
        _said(scene.store.block(scene.ids("r"), kind="Unserved", reason="x")), ["run paused"], "a block of it"
    )
    same(_said(scene.store.unblock(scene.ids("r"))), ["run paused"], "an unblock of it")
    same(scene.snapshot(), before, "the store after them")
    scene.store.unpause(scene.ids("r"))
    same(scene.run().status, "running", "the run after the unpause")
