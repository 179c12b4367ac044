"""A commit in doubt: every call is done, loses its answer and is made again; the state is that of one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance import Scene
from petiole_stores.conformance.amending import amendment
from petiole_stores.conformance.scene import plain
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.faults import PROTOCOL, UPKEEP, FaultPlan, FaultyStore, execute_and_timeout
from petiole_stores.records import Blob, Resumption, RunFilter, Worker
from petiole_stores.store import Store

THREADS = ("t", "t2")


@dataclass(frozen=True)
class Case:
    """``call`` is made on what ``prepare`` made; ``told`` is what matters of the answer when it is made again."""

    operation: str
    prepare: Callable[[Scene], object]
    call: Callable[[Scene], Any]
    told: Any
    pause: float = 1.0  #: seconds between the two calls


def two(scene: Scene) -> None:
    """Two claimed tasks side by side."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)


def one(scene: Scene) -> None:
    """One claimed task."""
    scene.begin("a")
    scene.claimed("a", "ka", slot="a")


def last(scene: Scene) -> None:
    """Two tasks of which one has ended."""
    two(scene)
    scene.finished("b", "kb", slot="b")


def joined(scene: Scene) -> None:
    """A superstep whose advance is held."""
    last(scene)
    scene.finished("a", "ka", slot="a")


def failed(scene: Scene) -> None:
    two(scene)
    scene.finished("a", "ka", "failed", slot="a")
    scene.finished("b", "kb", slot="b")


def interrupted(scene: Scene) -> None:
    one(scene)
    scene.finished("a", "ka", "interrupted", slot="a")


def nested(scene: Scene) -> None:
    """A task that waits for a namespace of two tasks, of which one has ended and one is claimed; one beside it has ended."""
    two(scene)
    scene.finished("b", "kb", slot="b")
    scene.nest("a", "ka", "a:1", "i0", "x", "y", slot="a")
    scene.take("y")
    scene.claimed("x", "kx")


def alone_below(scene: Scene) -> None:
    """A task that waits for a namespace with one claimed task."""
    one(scene)
    scene.nest("a", "ka", "a:1", "i0", "x", slot="a")
    scene.claimed("x", "kx")


def failed_below(scene: Scene) -> None:
    nested(scene)
    scene.finished("x", "kx", "failed")


def asking_below(scene: Scene) -> None:
    nested(scene)
    scene.finished("x", "kx", "interrupted")


def awaiting(scene: Scene) -> None:
    """A task that waits for a signal, and one that is claimed."""
    two(scene)
    scene.finished("a", "ka", "parked", slot="a", awaits="sig")


def paused_idle(scene: Scene) -> None:
    scene.begin("a", "b")
    scene.store.pause(scene.ids("r"))


def queued_behind(scene: Scene) -> None:
    one(scene)
    scene.submit("r2", if_busy="enqueue")


def paused(scene: Scene) -> None:
    two(scene)
    scene.store.pause(scene.ids("r"), reason="why")


def long_ago(scene: Scene) -> None:
    """A worker whose lease is over, a timer and a deadline that are due, and a run behind it."""
    two(scene)
    scene.finished("b", "kb", "parked", slot="b", delay=5.0)
    scene.submit("r2", "t2", deadline=scene.now + 10)
    scene.submit("r3", "t2", if_busy="enqueue")
    scene.tick(20)


def history(scene: Scene) -> None:
    scene.worker()
    scene.chain("c1", "c2", "c3")
    scene.store.save(by_hand(scene, "t2"))


def by_hand(scene: Scene, thread: str, parent: str | None = None) -> Checkpoint:
    at = datetime.fromtimestamp(scene.now, UTC)
    return Checkpoint(
        id=scene.id(f"{thread}.x"), thread_id=scene.id(thread), state={"n": 1}, timestamp=at,
        parent_id=parent and scene.id(parent),
    )  # fmt: skip


def ended(scene: Scene) -> None:
    history(scene)
    scene.end("c3", "c4")


def blob(data: bytes = b"x") -> Blob:
    return Blob(digest="d", codec="raw", data=data, checksum="s")


def finish(ending: str = "done", **fields: Any) -> Callable[[Scene], Any]:
    return lambda scene: scene.finish("a", "ka", ending, slot="a", **fields)


def settle(*tasks: str, inline: bool = False, status: str | None = None) -> Callable[[Scene], Any]:
    def call(scene: Scene) -> Any:
        fields: dict[str, Any] = {"token": scene.id("kn")} if inline else {}
        if status == "interrupted":
            fields["status"] = "interrupted"
        made = scene.settle("c1", "r.c0", *(scene.new_task(name, **fields) for name in tasks), status=status)
        return scene.finish("a", "ka", slot="a", settle=made, blobs=[blob()])

    return call


def advance(scene: Scene) -> Any:
    return scene.finish("a.adv", "ka.adv", slot="a", settle=scene.settle("c1", "r.c0", scene.new_task("c")))


def batch(scene: Scene) -> Any:
    outcomes = [scene.outcome("b", "kb"), scene.outcome("a", "ka")]
    return scene.store.finish(scene.id("w"), "a", outcomes)[1]


def nest(*tasks: str, status: str | None = None) -> Callable[[Scene], Any]:
    def call(scene: Scene) -> Any:
        fields: dict[str, Any] = {"status": "interrupted"} if status == "interrupted" else {}
        made = scene.settle(
            "i0", None, *(scene.new_task(name, **fields) for name in tasks), status=status, ns="a:1"
        )
        return scene.finish("a", "ka", "parked", slot="a", nest=made, blobs=[blob()])

    return call


def below(ending: str = "done", *, settles: bool = False) -> Callable[[Scene], Any]:
    """The finish of the last task in a namespace."""

    def call(scene: Scene) -> Any:
        fields: dict[str, Any] = {"settle": scene.settle("i1", "i0", ns="a:1")} if settles else {}
        return scene.finish("x", "kx", ending, **fields)

    return call


def replay_below(scene: Scene) -> Any:
    return scene.store.replay(scene.id("r"), [(scene.id("x"), scene.id("x2"))])


def resume_one(task: str) -> Callable[[Scene], Any]:
    def call(scene: Scene) -> Any:
        said = Resumption(task_id=scene.id(task), token=scene.id(f"k{task}"), progress='{"said": 1}')
        return scene.store.resume(scene.id("r"), [said])

    return call


def amend(head: str, *tasks: str, ns: str = "") -> Callable[[Scene], Any]:
    def call(scene: Scene) -> Any:
        made = amendment(scene, head, "u1", "u2", tasks="".join(tasks), ns=ns)
        made.blobs = [blob()]
        return scene.store.amend(made)

    return call


def replay(scene: Scene) -> Any:
    return scene.store.replay(scene.id("r"), [(scene.id("a"), scene.id("a2"))])


def on(operation: str, *names: str, **options: Any) -> Callable[[Scene], Any]:
    """An operation that takes a list of ids."""
    return lambda scene: getattr(scene.store, operation)(scene.ids(*names), **options)


def save(scene: Scene) -> Any:
    return scene.store.save(by_hand(scene, "t", "c4")) == scene.id("t.x")


def enqueue(scene: Scene) -> Any:
    return scene.submit("r2", if_busy="enqueue", lifetime=9.0, delay=2.0, blobs=[blob()])


CASES = {
    "submit": Case("submit", Scene.worker, lambda s: s.submit(delay=0.0, lifetime=60.0, blobs=[blob()]), "already"),
    "submit for later": Case("submit", Scene.worker, lambda s: s.submit(delay=50.0), "already"),
    "submit behind another": Case("submit", one, enqueue, "already"),
    "claim": Case("claim", lambda s: s.begin("a"), lambda s: s.claim("a", "k"), "already"),
    "claim what a dead worker held": Case("claim", long_ago, lambda s: s.claim("r2.start", "k"), "already"),
    "finish alone": Case("finish", one, settle("b", "c"), "already"),
    "finish at the end": Case("finish", queued_behind, settle(), "already"),
    "finish and go on": Case("finish", one, settle("b", inline=True), "already"),
    "finish and wait": Case("finish", one, settle("b", status="interrupted"), "already"),
    "finish one of two": Case("finish", two, finish(), "already"),
    "finish the last": Case("finish", last, finish(), "already"),
    "finish relaxed": Case("finish", last, finish(relaxed=True), "already"),
    "finish two at once": Case("finish", two, batch, "already"),
    "finish the advance": Case("finish", joined, advance, "already"),
    "finish as failed": Case("finish", last, finish("failed"), "already"),
    "finish as interrupted": Case("finish", last, finish("interrupted", output='{"ask": 1}'), "already"),
    "finish as cancelled": Case("finish", last, finish("cancelled"), "already"),
    "finish with a retry": Case("finish", two, finish("retry", error='{"type": "E"}'), "already"),
    "finish with a late retry": Case("finish", two, finish("retry", delay=9.0, progress="1"), "already"),
    "finish parked": Case("finish", two, finish("parked", progress='{"n": 1}'), "already"),
    "finish parked for long": Case("finish", two, finish("parked", delay=9e6, progress="1"), "already"),
    "finish waiting for a signal": Case("finish", two, finish("parked", awaits="sig", delay=9.0), "already"),
    "finish waiting for a namespace": Case("finish", two, nest("x", "y"), "already"),
    "finish with a namespace that is over": Case("finish", two, nest(), "already"),
    "finish with a namespace that asks": Case("finish", last, nest("x", status="interrupted"), "already"),
    "finish a namespace": Case("finish", alone_below, below(settles=True), "already"),
    "finish as failed below": Case("finish", nested, below("failed"), "already"),
    "finish as interrupted below": Case("finish", nested, below("interrupted"), "already"),
    "finish the last below": Case("finish", nested, below(), "already"),
    "finish while held back": Case("finish", paused, finish(), "already"),
    "beat": Case("beat", one, lambda s: s.store.beat(Worker(worker_id=s.id("w"), name="w")).claims == s.ids("a"), True, 0),
    "beat of the dead": Case(
        "beat",
        lambda s: (long_ago(s), s.store.sweep()),
        lambda s: s.store.beat(Worker(worker_id=s.id("w"), name="w"), published=s.ids("b")).revived,
        False,
        0,
    ),
    "release": Case("release", two, lambda s: s.store.release(s.id("w"), slots=["a"]), []),
    "release of a crash": Case(
        "release", two, lambda s: s.store.release(s.id("w"), crashed=True, final=True), []
    ),
    "postpone": Case("postpone", lambda s: s.begin("a"), on("postpone", "a", delay=60.0), None, 0),
    "sweep": Case("sweep", long_ago, lambda s: s.store.sweep().died, [], 0),
    "due": Case("due", lambda s: (s.begin("a", "b"), s.tick(9)), lambda s: s.due(), []),
    "cancel": Case("cancel", queued_behind, on("cancel", "r", reason="enough"), "already"),
    "replay below": Case("replay", failed_below, replay_below, "already"),
    "resume one": Case("resume", interrupted, resume_one("a"), "already"),
    "resume one below": Case("resume", asking_below, resume_one("x"), "already"),
    "amend a thread": Case("amend", ended, amend("c4"), "already"),
    "amend a run that asks": Case("amend", interrupted, amend("r.c0", "m", "n"), "already"),
    "amend a paused run": Case("amend", paused_idle, amend("r.c0", "m"), "already"),
    "amend to the end": Case("amend", interrupted, amend("r.c0"), "already"),
    "amend below": Case("amend", asking_below, amend("i0", "m", ns="a:1"), "already"),
    "amend below to the end": Case("amend", asking_below, amend("i0", ns="a:1"), "already"),
    "wake": Case("wake", awaiting, lambda s: s.store.wake(s.id("t"), "sig"), []),
    "replay": Case("replay", failed, replay, "already"),
    "resume": Case("resume", interrupted, lambda s: s.store.resume(s.id("r")), "already"),
    "note": Case("note", one, lambda s: s.store.note(s.id("a"), s.id("ka"), '{"n": 1}'), True),
    "pause": Case("pause", two, on("pause", "r", reason="why"), "already"),
    "unpause": Case("unpause", paused, on("unpause", "r"), "already"),
    "block": Case("block", two, on("block", "r", kind="Unserved", reason="nobody"), "already"),
    "unblock": Case(
        "unblock", lambda s: (two(s), s.store.block(s.ids("r"), kind="Unserved", reason="")), on("unblock", "r"), "already"
    ),
    "drop": Case("drop", failed, on("drop", "a"), 0),
    "quarantine": Case("quarantine", history, lambda s: s.store.quarantine(s.id("c2"), "damaged"), True),
    "replace_blobs": Case(
        "replace_blobs",
        lambda s: s.submit(blobs=[blob()]),
        lambda s: s.store.replace_blobs(s.id("t"), [blob(b"new")]),
        None,
    ),
    "recent": Case("recent", lambda s: s.store.recent(), lambda s: s.store.recent()[0], None),
    "trim": Case("trim", history, lambda s: s.store.trim(s.id("t"), 1).checkpoints, 0),
    "expired": Case("expired", ended, lambda s: s.id("t") in s.store.expired({"succeeded": 0.5}, limit=10**6), True),
    "delete_thread": Case("delete_thread", ended, lambda s: s.store.delete_thread(s.id("t")), True),
    "save": Case("save", ended, save, True, 0),
    "delete": Case("delete", ended, lambda s: s.store.delete(s.id("c4")), None),
    "clear": Case("clear", ended, lambda s: s.store.clear(s.id("t")), None),
}  # fmt: skip


def test_every_operation_has_a_case() -> None:
    assert {case.operation for case in CASES.values()} == {*PROTOCOL, *UPKEEP}


@pytest.mark.parametrize("name", CASES)
def test_the_state_is_that_of_one_call(store: Store, name: str) -> None:
    case = CASES[name]
    undisturbed = Scene(store)
    case.prepare(undisturbed)
    began = undisturbed.now
    case.call(undisturbed)
    undisturbed.tick(case.pause)
    wanted = everything(undisturbed, began)

    scene = Scene(store)
    case.prepare(scene)
    began = scene.now
    plan = FaultPlan(execute_and_timeout(case.operation, nth=1))
    scene.store = FaultyStore(store, plan)
    with pytest.raises(StoreUnavailableError, match="lose its answer"):
        case.call(scene)
    scene.tick(case.pause)
    answer = case.call(scene)
    scene.store = store

    assert plan.struck == [(case.operation, 1, "execute_and_timeout")]
    if case.operation != "recent":  # a backend may keep its place and not give a thread again
        assert told(answer) == case.told
    assert everything(scene, began) == wanted


@pytest.mark.parametrize(
    "name", ["finish the last", "finish the last below", "finish and go on", "claim", "submit"]
)
def test_the_second_answer_is_worth_the_first(store: Store, name: str) -> None:
    """What the caller needs to go on comes with the answer to the repeated call too."""
    case = CASES[name]
    scene = Scene(store)
    case.prepare(scene)
    first, second = case.call(scene), case.call(scene)
    for field in ("advance", "claim", "publish", "open", "run_status"):
        assert getattr(second, field, None) == getattr(first, field, None), field


def told(answer: Any) -> Any:
    """The result of an answer, or of the one in a list."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    return getattr(answer, "result", answer)


def everything(scene: Scene, began: float) -> Any:
    """All that a store shows of a scene: without its names, and with times counted from ``began``."""
    found: dict[str, Any] = {"threads": scene.snapshot(THREADS)}
    found["workers"] = [plain(w) for w in scene.store.list_workers() if w.worker_id.startswith(scene.prefix)]
    for worker in found["workers"]:
        worker["expires_at"] = None  # a final release said again ends it a moment later
    found["blobs"] = [scene.store.get_blobs(scene.id(thread), ["d"]) for thread in THREADS]
    found["active"] = [
        scene.store.list_runs(RunFilter(thread_id=scene.id(thread), status=["queued", "running"])).runs != []
        for thread in THREADS
    ]
    return bare(found, scene.prefix, began)


def bare(value: Any, prefix: str, began: float) -> Any:
    if isinstance(value, dict):
        return {
            bare(key, prefix, began): bool(item)
            if key == "seal"
            else bare(item, prefix, began)  # seals cover names
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [bare(item, prefix, began) for item in value]
    if isinstance(value, str):
        return value.replace(prefix, "")
    if isinstance(value, float) and value > 1e9:
        return value - began
    return value
