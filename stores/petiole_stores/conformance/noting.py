"""Checks of what one attempt leaves for the next: ``parked``, ``progress`` and ``note``."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import ATTEMPTS_KEPT

ROWS = '{"rows": [1, 2.5, null], "ü": "\\u2028"}'


@LEDGER
def parked_waits(scene: Scene) -> None:
    """A parked attempt is no failure: its task waits without a token until its time and keeps its progress."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.tick(1)
    answer = scene.finished("a", "k", "parked", delay=10.0, progress=ROWS)
    same((answer.open, answer.run_status, answer.advance), (2, "running", None), "the answer")
    task = scene.task("a")
    same((task.status, task.token, task.holder, task.slot), ("parked", None, None, None), "the task")
    same((task.run_at, task.next_publish, task.failures), (scene.now + 10, None, 0), "its time and failures")
    same((document(task.progress), task.error, task.ended_at), (document(ROWS), None, None), "what it keeps")
    same(
        [(a.attempt, a.outcome, a.ended_at) for a in task.attempts],
        [(1, "parked", scene.now)],
        "its attempts",
    )
    before = scene.snapshot()
    again = scene.finish("a", "k", "parked", delay=10.0, progress='"other"')
    same((again.result, again.open), ("already", 2), "the same again")
    same(scene.snapshot(), before, "the store after it")
    same(scene.claim("a", "k2").reason, "parked", "a claim before its time")
    scene.tick(10)
    scene.store.sweep()
    scene.worker()
    claim = scene.claimed("a", "k2")
    same((claim.task.attempt, document(claim.task.progress)), (2, document(ROWS)), "the next attempt")
    same(scene.finish("a", "k", "parked").result, "already", "the first attempt's end once more")


@LEDGER
def parked_without_delay(scene: Scene) -> None:
    """A parked attempt without a delay is ready at once, due after the grace, in its own priority."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(1)
    scene.finished("a", "k", "parked")
    task = scene.task("a")
    same((task.status, task.token, task.recovered, task.progress), ("ready", None, False, None), "the task")
    same((task.next_publish, task.publishes), (scene.now + scene.store.grace, 0), "its outbox")
    same(
        (scene.finish("a", "k").result, scene.finish("a", "kx").reason),
        ("already", "fenced"),
        "the old token",
    )


@LEDGER
def parked_often(scene: Scene) -> None:
    """Of many attempts the first and the newest are remembered, so that a task that looks for months stays small."""
    scene.begin("a")
    for number in range(ATTEMPTS_KEPT + 5):
        scene.claimed("a", f"k{number}")
        scene.finished("a", f"k{number}", "parked")
    task, half = scene.task("a"), ATTEMPTS_KEPT // 2
    newest = range(ATTEMPTS_KEPT + 5 - half + 1, ATTEMPTS_KEPT + 6)
    same([it.attempt for it in task.attempts], [*range(1, half + 1), *newest], "the attempts")
    same(task.attempt, ATTEMPTS_KEPT + 5, "their number")


@LEDGER
def parked_by_the_dead(scene: Scene) -> None:
    """A dead worker may park what nobody took over, and is fenced where somebody did."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    scene.tick(16)
    scene.store.sweep()
    scene.worker("w2")
    scene.claimed("b", "k2", holder="w2")
    before = scene.task("b")
    same(
        scene.finish("b", "kb", "parked", slot="b", delay=5.0, progress='"x"').reason,
        "fenced",
        "the taken one",
    )
    same(scene.task("b"), before, "it")
    scene.finished("a", "ka", "parked", slot="a", delay=5.0, progress='"x"')
    put_off = scene.task("a")
    same(
        (put_off.status, document(put_off.progress), put_off.next_publish), ("parked", "x", None), "the other"
    )


@LEDGER
def parked_beside_others(scene: Scene) -> None:
    """A superstep is not over while one of its tasks is parked; cancelled with its run it never wakes."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    outcomes = [scene.outcome("a", "ka", "parked", delay=5.0), scene.outcome("b", "kb")]
    answers = scene.store.finish(scene.id("w"), "s", outcomes)
    same(
        [(a.result, a.open, a.advance) for a in answers],
        [("committed", 2, None), ("committed", 1, None)],
        "answers",
    )
    scene.store.cancel(scene.ids("r"))
    scene.tick(10)
    scene.store.sweep()
    same((scene.task("a").status, scene.due()), ("cancelled", []), "the task after its time")


@LEDGER
def progress_outlives_the_attempt(scene: Scene) -> None:
    """Progress is kept over retries, waits, lost answers, releases and crashes, until other progress replaces it."""
    scene.begin("a")
    scene.claimed("a", "k1")
    scene.finished("a", "k1", "retry", progress='{"n": 1}', error='{"type": "E"}')
    same(document(scene.claimed("a", "k2").task.progress), {"n": 1}, "after a retry that brought it")
    scene.finished("a", "k2", "retry")
    same(document(scene.claimed("a", "k3").task.progress), {"n": 1}, "after a retry that brought none")
    scene.finished("a", "k3", "parked", progress='{"n": 2}')
    same(document(scene.claimed("a", "k4").task.progress), {"n": 2}, "after a wait that brought other")
    scene.claimed("a", "k5")
    same(document(scene.task("a").progress), {"n": 2}, "after a lost answer")
    scene.store.release(scene.id("w"), crashed=True)
    scene.claimed("a", "k6")
    scene.store.release(scene.id("w"))
    same(document(scene.task("a").progress), {"n": 2}, "after a crash and a release")
    scene.tick(16)
    scene.worker("w2")
    scene.claimed("a", "k7", holder="w2")
    scene.tick(16)
    scene.store.sweep()
    scene.worker("w3")
    same(document(scene.claimed("a", "k8", holder="w3").task.progress), {"n": 2}, "after a death")
    scene.finished("a", "k8", holder="w3", settle=scene.settle("c1", "r.c0"))
    same(document(scene.task("a").progress), {"n": 2}, "after the end")


@LEDGER
def progress_outlives_interrupt_and_replay(scene: Scene) -> None:
    """A resumed task has its progress, and so has the new task that a replay puts in a failed one's place."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
        scene.store.note(scene.id(task), scene.id(f"k{task}"), f'"{task}"')
    scene.finished("a", "ka", "interrupted", slot="a")
    scene.finished("b", "kb", slot="b")
    scene.store.resume(scene.id("r"))
    same(document(scene.claimed("a", "ka2", slot="a").task.progress), "a", "after the resume")
    scene.finished("a", "ka2", "failed", slot="a")
    scene.store.replay(scene.id("r"), [(scene.id("a"), scene.id("a2"))])
    same((document(scene.task("a2").progress), scene.task("a2").attempt), ("a", 0), "after the replay")


@LEDGER
def note_keeps_progress(scene: Scene) -> None:
    """A note under the task's token is kept, the last one said; it is safe to say again."""
    scene.begin("a")
    scene.claimed("a", "k")
    before = scene.task("a")
    for text in ('{"n": 1}', ROWS, ROWS):
        same(scene.store.note(scene.id("a"), scene.id("k"), text), True, "the answer")
    task = scene.task("a")
    same(document(task.progress), document(ROWS), "the progress")
    task.progress = None
    same(task, before, "all else of the task")
    scene.store.release(scene.id("w"))
    same(document(scene.claimed("a", "k2").task.progress), document(ROWS), "what the next attempt finds")


@LEDGER
def note_is_fenced(scene: Scene) -> None:
    """A note under a void token keeps nothing: wrong, taken over, ended, settled or missing."""
    store, a = scene.store, scene.id("a")
    scene.begin("a", "b")
    same(store.note(scene.id("none"), scene.id("k"), "1"), False, "a missing task")
    same(store.note(a, scene.id("k"), "1"), False, "before the claim")
    scene.claimed("a", "k")
    same(store.note(a, scene.id("other"), "1"), False, "another's token")
    scene.tick(16)
    store.sweep()
    same(store.note(a, scene.id("k"), "2"), True, "after the holder's death, before anybody claims")
    scene.worker("w2")
    scene.claimed("a", "k2", holder="w2")
    same(store.note(a, scene.id("k"), "3"), False, "after the next claim")
    scene.store.pause(scene.ids("r"))
    same(store.note(a, scene.id("k2"), "4"), True, "while the run is held back")
    same(document(scene.task("a").progress), 4, "the progress")
    scene.finished("a", "k2", holder="w2")
    same(store.note(a, scene.id("k2"), "5"), False, "after the end")
    scene.store.unpause(scene.ids("r"))
    scene.claimed("b", "kb", holder="w2")
    store.cancel(scene.ids("r"))
    same(store.note(scene.id("b"), scene.id("kb"), "6"), False, "in a settled run")
    same((document(scene.task("a").progress), scene.task("b").progress), (4, None), "what is kept")
