"""Checks of timeouts that are a task's own: kept with it, however it was made, and handed out with each claim."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import Amendment, TaskFilter

_SHORT = '{"run_timeout":0.5}'
_IDLE = '{"idle_timeout":2.0,"refresh_on":"heartbeat"}'


def _given(scene: Scene, task: str, token: str) -> object:
    """The timeout that a claim of the task brings."""
    return document(scene.claimed(task, token, slot=task).task.timeout)


@LEDGER
def timeout_of_a_task(scene: Scene) -> None:
    """A task's own timeout comes with its claim and with every look at it; its siblings have none."""
    scene.begin("a")
    scene.claimed("a", "k")
    tasks = [
        scene.new_task("b", arg="1", timeout=_SHORT),
        scene.new_task("c", timeout=_IDLE),
        scene.new_task("d"),
    ]
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0", *tasks))
    wanted = [document(_SHORT), document(_IDLE), None]
    same([document(scene.task(name).timeout) for name in "bcd"], wanted, "as listed")
    brief = scene.store.tasks_page(scene.id("r"), TaskFilter(brief=True, status=["ready"])).tasks
    same([document(task.timeout) for task in brief], wanted, "as listed in brief")
    same([_given(scene, name, f"k{name}") for name in "bcd"], wanted, "as claimed")
    scene.finished("b", "kb", "retry", slot="b")
    same(_given(scene, "b", "kb2"), wanted[0], "of the next attempt")
    same(scene.task("a").timeout, None, "of the task before")


@LEDGER
def timeout_of_a_task_born_claimed(scene: Scene) -> None:
    """A task that is inserted under a token has its timeout too."""
    scene.begin("a")
    scene.claimed("a", "k")
    new = scene.new_task("b", timeout=_SHORT, token=scene.id("kb"))
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0", new))
    found = scene.task("b")
    same((found.status, document(found.timeout)), ("claimed", document(_SHORT)), "the task")


@LEDGER
def timeout_in_a_namespace(scene: Scene) -> None:
    """The tasks that a namespace begins with, and those that it waits with, have their timeouts."""
    scene.begin("a")
    scene.claimed("a", "k")
    inner = scene.settle("i0", None, scene.new_task("x", timeout=_SHORT), ns="sub:a")
    scene.finished("a", "k", "parked", nest=inner)
    same(_given(scene, "x", "kx"), document(_SHORT), "of the first")
    waiting = scene.new_task("y", timeout=_IDLE, status="interrupted")
    scene.finished(
        "x", "kx", slot="x", settle=scene.settle("i1", "i0", waiting, status="interrupted", ns="sub:a")
    )
    scene.store.resume(scene.id("r"))
    same(_given(scene, "y", "ky"), document(_IDLE), "of one that waited")


@LEDGER
def timeout_after_a_replay(scene: Scene) -> None:
    """The task that a replay puts in a failed one's place has that one's timeout."""
    scene.begin("a")
    scene.claimed("a", "k")
    tasks = [scene.new_task("b", timeout=_SHORT), scene.new_task("c")]
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0", *tasks))
    scene.take("b", "failed")
    scene.take("c", "failed")
    pairs = [(scene.id("b"), scene.id("b2")), (scene.id("c"), scene.id("c2"))]
    same(scene.store.replay(scene.id("r"), pairs).result, "committed", "the replay")
    same([_given(scene, name, f"k{name}") for name in ("b2", "c2")], [document(_SHORT), None], "as claimed")


@LEDGER
def timeout_by_hand(scene: Scene) -> None:
    """The tasks of an amendment have their timeouts."""
    scene.begin("a")
    scene.take("a", "interrupted")
    made = Amendment(
        thread_id=scene.id("t"),
        head_id=scene.id("r.c0"),
        checkpoints=[scene.new_checkpoint("u1", "r.c0", source="update")],
        tasks=[scene.new_task("m", status="interrupted", timeout=_SHORT)],
    )
    same(scene.store.amend(made).result, "committed", "the amendment")
    scene.store.resume(scene.id("r"))
    same(_given(scene, "m", "km"), document(_SHORT), "as claimed")
