"""Checks of ``awaits`` and ``wake``: a task waits for a signal, which may come before, while or after it waits."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.errors import InputError


def _wake(scene: Scene, name: str = "sig", thread: str = "t") -> list[str]:
    return scene.names(scene.store.wake(scene.id(thread), name))


def _waiting(scene: Scene, **fields: object) -> None:
    """A run of ``a``, which waits for ``sig``, and ``b``."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.finished("a", "k", "parked", awaits="sig", **fields)


@LEDGER
def wake_what_waits(scene: Scene) -> None:
    """A task that awaits a signal is parked without a time until the signal comes; then it is ready, due at once."""
    _waiting(scene, progress='{"at": 1}')
    task = scene.task("a")
    same((task.status, task.awaits, task.run_at, task.next_publish), ("parked", "sig", None, None), "parked")
    same((task.token, [a.outcome for a in task.attempts]), (None, ["parked"]), "its attempt")
    scene.tick(1000)
    scene.store.sweep()
    scene.worker()
    same((scene.statuses("a"), scene.claim("a", "k2").reason), (["parked"], "parked"), "after a long time")
    same(_wake(scene), ["a"], "the answer")
    task = scene.task("a")
    same((task.status, task.awaits, task.woken), ("ready", "", False), "the task")
    same((task.next_publish, task.publishes), (scene.now, 0), "its outbox")
    claim = scene.claimed("a", "k2")
    same((claim.task.attempt, document(claim.task.progress)), (2, {"at": 1}), "the next attempt")


@LEDGER
def wake_twice(scene: Scene) -> None:
    """A signal that comes again wakes nothing that is ready and unclaimed, and changes nothing."""
    _waiting(scene)
    _wake(scene)
    before = scene.snapshot()
    same((_wake(scene), scene.snapshot()), ([], before), "the same again")


@LEDGER
def wake_by_another_name(scene: Scene) -> None:
    """A signal wakes what awaits it by name, in its own thread; whatever else waits goes on waiting."""
    _waiting(scene)
    scene.begin("x", run="r2", thread="t2")
    scene.claimed("x", "kx")
    scene.finished("x", "kx", "parked", awaits="sig")
    scene.claimed("b", "kb")
    scene.finished("b", "kb", "parked", delay=50.0)
    before = scene.snapshot(["t", "t2"])
    same((_wake(scene, "other"), _wake(scene, thread="none")), ([], []), "another name, no such thread")
    same(scene.snapshot(["t", "t2"]), before, "the store after it")
    same(_wake(scene), ["a"], "the right name")
    same((scene.statuses("b"), scene.statuses("x", run="r2")), (["parked"], ["parked"]), "the others")


@LEDGER
def wake_while_claimed(scene: Scene) -> None:
    """A signal that comes during a claim is remembered: parking then makes the task ready again at once."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    same(_wake(scene, "any"), [], "the answer")
    same((scene.task("a").woken, scene.task("b").woken), (True, False), "the claimed and the ready one")
    answer = scene.finished("a", "k", "parked", awaits="sig", delay=50.0)
    same((answer.open, answer.run_status), (2, "running"), "the answer of the finish")
    task = scene.task("a")
    same((task.status, task.run_at, task.token), ("ready", None, None), "the task")
    same(task.next_publish, scene.now + scene.store.grace, "its outbox")
    scene.claimed("a", "k2")
    same((scene.task("a").woken, scene.task("a").awaits), (False, ""), "after the next claim")
    scene.finished("a", "k2", "parked", awaits="sig")
    same(scene.statuses("a"), ["parked"], "parked again")


@LEDGER
def wake_counts_for_one_wait(scene: Scene) -> None:
    """That a signal came during a claim shortens no wait for a time, and no retry."""
    scene.begin("a", "b")
    for task, ending in (("a", "parked"), ("b", "retry")):
        scene.claimed(task, f"k{task}", slot=task)
        _wake(scene)
        scene.finished(task, f"k{task}", ending, slot=task, delay=50.0)
    same(scene.statuses("a", "b"), ["parked", "parked"], "the tasks")
    same(_wake(scene), [], "a signal that none of them awaits")


@LEDGER
def wake_of_a_lost_claim(scene: Scene) -> None:
    """A task whose worker seems dead may still come to wait under its token: it is marked, too."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.claimed("b", "kb", slot="b")
    scene.tick(16)
    scene.store.sweep()
    same((_wake(scene), scene.task("a").woken), ([], True), "the wake")
    scene.finished("a", "k", "parked", awaits="sig")
    same(scene.statuses("a"), ["ready"], "parked under the old token")
    scene.worker("w2")
    scene.claimed("b", "kb2", holder="w2")
    same(scene.task("b").woken, False, "one that was claimed anew")


@LEDGER
def wake_or_time(scene: Scene) -> None:
    """A wait with a delay ends with the signal or the time, whichever is first."""
    _waiting(scene, delay=10.0)
    task = scene.task("a")
    same((task.status, task.awaits, task.run_at), ("parked", "sig", scene.now + 10), "the task")
    same((_wake(scene), scene.task("a").run_at), (["a"], None), "by the signal")
    scene.claimed("a", "k2")
    scene.finished("a", "k2", "parked", awaits="sig", delay=10.0)
    scene.tick(10)
    same(scene.store.sweep().woken >= 1, True, "by the time")
    task = scene.task("a")
    same((task.status, task.run_at, task.next_publish), ("ready", None, scene.now), "the task")
    same(_wake(scene), [], "a signal after the time")
    scene.worker()
    same(scene.claimed("a", "k3").task.awaits, "", "after the next claim")


@LEDGER
def wake_inside(scene: Scene) -> None:
    """A signal reaches what waits in any namespace; owners that wait for their namespace are not woken by it."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.nest("a", "k", "a:1", "i0", "x", "y")
    for task in "xy":
        scene.claimed(task, f"k{task}")
        scene.finished(task, f"k{task}", "parked", awaits="sig")
    same((_wake(scene), scene.statuses("a")), (["x", "y"], ["parked"]), "the wake, the owner")
    same(scene.task("a").woken, False, "the owner is not marked")


@LEDGER
def wake_of_a_run_that_is_not_running(scene: Scene) -> None:
    """A held back run's waits end, to be claimed later; of a thread without an active run nothing is woken."""
    _waiting(scene)
    scene.store.pause(scene.ids("r"))
    _wake(scene)
    same((scene.statuses("a"), scene.claim("a", "k2").reason), (["ready"], "run paused"), "in a paused run")
    scene.store.unpause(scene.ids("r"))
    scene.claimed("a", "k2")
    scene.finished("a", "k2", "parked", awaits="sig")
    scene.store.cancel(scene.ids("r"))
    before = scene.snapshot()
    same((_wake(scene), scene.snapshot()), ([], before), "after a cancel")


@LEDGER
def wake_and_a_deadline(scene: Scene) -> None:
    """A wait ends with its run's deadline; the task that replaces it does not wait."""
    scene.begin("a", deadline=scene.now + 10)
    scene.claimed("a", "k")
    scene.finished("a", "k", "parked", awaits="sig")
    scene.tick(11)
    scene.store.sweep()
    same(scene.statuses("a"), ["failed"], "the task")
    scene.store.replay(scene.id("r"), [(scene.id("a"), scene.id("a2"))])
    same((scene.statuses("a2"), scene.task("a2").awaits, _wake(scene)), (["ready"], "", []), "its replay")


@LEDGER
def wake_said_again(scene: Scene) -> None:
    """A wait said again is already, also after it has ended."""
    _waiting(scene)
    before = scene.snapshot()
    same(scene.finish("a", "k", "parked", awaits="sig").result, "already", "the same again")
    same(scene.snapshot(), before, "the store after it")
    _wake(scene)
    same(scene.finish("a", "k", "parked", awaits="sig").result, "already", "after the signal")
    same(scene.statuses("a"), ["ready"], "the task")


@LEDGER
def wake_checks_its_arguments(scene: Scene) -> None:
    """A signal has a name and a thread."""
    for thread, name in (("", "sig"), (scene.id("t"), ""), (scene.id("t"), "x" * 300)):
        try:
            scene.store.wake(thread, name)
        except InputError:
            continue
        raise AssertionError(f"it took {thread!r}, {name[:9]!r}")
