"""Checks of ``trim``: what is superfluous goes, what anything needs stays."""

from __future__ import annotations

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.errors import InputError
from petiole_stores.records import Blob, Trimmed


def _trim(scene: Scene, most: int | None, thread: str = "t") -> tuple[int, int, int]:
    done = scene.store.trim(scene.id(thread), most)
    return done.checkpoints, done.tasks, done.blobs


def _blobs(scene: Scene, thread: str = "t") -> list[str]:
    return sorted(scene.store.get_blobs(scene.id(thread), [f"b{n}" for n in range(10)]))


def blob(number: int) -> Blob:
    return Blob(digest=f"b{number}", codec="raw", data=b"data", checksum="s")


def naming(number: int) -> str:
    """A document that refers to blob ``number``."""
    return f'{{"big": {{"$blob": "b{number}"}}}}'


@LEDGER
def trim_keeps_the_newest(scene: Scene) -> None:
    """The newest so many checkpoints are kept; with the others go the tasks of their supersteps. Runs stay."""
    scene.chain("c1", "c2", "c3", "c4")
    scene.end("c4", "c5")
    scene.save("x", "t2")
    same(_trim(scene, 3), (3, 3, 0), "what it removed")
    same((scene.history(), scene.head()), (["c5", "c4", "c3"], "c5"), "history and head")
    same(
        sorted(scene.tasks()),
        ["c3.next", "c4.next", "r.start"],
        "the tasks; a run's start follows no checkpoint",
    )
    same((scene.run().status, scene.run().checkpoint_id), ("succeeded", scene.id("c5")), "the run")
    same(scene.store.get_checkpoint(scene.id("c2")), None, "one that is gone")
    before = scene.snapshot(["t", "t2"])
    same(_trim(scene, 3), (0, 0, 0), "the same again")
    same(scene.snapshot(["t", "t2"]), before, "the store after it")
    same(scene.history("t2"), ["x"], "another thread")


@LEDGER
def trim_keeps_all(scene: Scene) -> None:
    """With None every checkpoint is kept; a thread that is not there has nothing; at least one is to be kept."""
    scene.chain("c1", "c2")
    same(_trim(scene, None), (0, 0, 0), "what it removed")
    same(_trim(scene, 10), (0, 0, 0), "with more than there are")
    same(scene.store.trim(scene.id("none"), 1), Trimmed(), "no such thread")
    for most in (0, -1):
        try:
            scene.store.trim(scene.id("t"), most)
        except InputError:
            continue
        raise AssertionError(f"it took max_checkpoints = {most}")
    same(scene.history(), ["c2", "c1", "r.c0"], "the history")


@LEDGER
def trim_keeps_the_heads_parent(scene: Scene) -> None:
    """The parent of a head is kept: a damaged head is rebuilt from it; a finish said again is still known."""
    scene.chain("c1", "c2", "c3")
    same(_trim(scene, 1), (2, 2, 0), "what it removed")
    same(scene.history(), ["c3", "c2"], "the history")
    settle = scene.settle("c3", "c2", scene.new_task("c3.next"))
    same(scene.finish("c2.next", "c2.k", settle=settle).result, "already", "the last finish said again")


@LEDGER
def trim_keeps_bases(scene: Scene) -> None:
    """A checkpoint that a run was started from is kept, with its place in the history."""
    scene.chain("c1", "c2")
    scene.end("c2", "c3")
    scene.submit("fork", base_id=scene.id("c1"))
    scene.store.cancel(scene.ids("fork"))
    scene.begin("n", run="next", parent="c1")
    for name, parent in (("n1", "next.c0"), ("n2", "n1"), ("n3", "n2")):
        task = "n" if name == "n1" else f"{parent}.next"
        scene.claimed(task, f"k{task}")
        scene.finished(task, f"k{task}", settle=scene.settle(name, parent, scene.new_task(f"{name}.next")))
    _trim(scene, 1)
    same(scene.history(), ["n3", "n2", "c1"], "the history")


@LEDGER
def trim_keeps_what_waits(scene: Scene) -> None:
    """Checkpoints with a task that is interrupted or not over are kept, wherever the head is."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", "interrupted")
    for name, parent in (("h1", "r.c0"), ("h2", "h1"), ("h3", "h2")):
        scene.save(name, parent=parent)
    same(_trim(scene, 1), (2, 0, 0), "what it removed")
    same(scene.history(), ["h3", "r.c0"], "the history; a run is active, so the head stays where it was")
    scene.store.resume(scene.id("r"))
    same(_trim(scene, 1), (0, 0, 0), "what it removed after the resume")
    claim = scene.claimed("a", "k2")
    same(claim.base and scene.name(claim.base), "r.c0", "the base of the task")


@LEDGER
def trim_keeps_what_was_asked(scene: Scene) -> None:
    """A checkpoint with an interrupted task is kept though its run has failed and the thread has gone on."""
    scene.begin("a", "b")
    for task, ending in (("a", "interrupted"), ("b", "failed")):
        scene.claimed(task, f"k{task}", slot=task)
        scene.finished(task, f"k{task}", ending, slot=task)
    same(scene.run().status, "failed", "the run")
    for name, parent in (("h1", "r.c0"), ("h2", "h1"), ("h3", "h2")):
        scene.save(name, parent=parent)
    same((_trim(scene, 1), scene.history()), ((1, 0, 0), ["h3", "h2", "r.c0"]), "what went and what is left")
    same(scene.task("a").status, "interrupted", "the task")


@LEDGER
def trim_counts_by_namespace(scene: Scene) -> None:
    """Each namespace has its own newest checkpoints, head and head's parent."""
    for number in range(4):
        scene.save(f"a{number}", parent=f"a{number - 1}" if number else None)
        scene.save(f"s{number}", parent=f"s{number - 1}" if number else None, ns="sub")
    same(_trim(scene, 3), (2, 0, 0), "what it removed")
    same((scene.history(), scene.history(ns="sub")), (["a3", "a2", "a1"], ["s3", "s2", "s1"]), "by namespace")
    same(_trim(scene, 1), (2, 0, 0), "what it removed with one to keep")
    same((scene.history(), scene.history(ns="sub")), (["a3", "a2"], ["s3", "s2"]), "head and parent of each")


@LEDGER
def trim_collects_blobs(scene: Scene) -> None:
    """Blobs that no checkpoint, run or task of the thread names are removed, also with every checkpoint kept."""
    scene.worker()
    scene.submit(input=naming(0), metadata=naming(1), config=naming(7), blobs=[blob(n) for n in range(10)])
    scene.submit("r2", "t2", blobs=[blob(9)])
    scene.claimed("r.start", "k")
    checkpoint = scene.new_checkpoint("c0", None, state=naming(2), metadata=naming(3))
    settle = scene.settle(
        "c0", None, scene.new_task("a", arg=naming(4)), scene.new_task("b"), scene.new_task("d")
    )
    settle.checkpoints = [checkpoint]
    scene.finished("r.start", "k", settle=settle)
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    scene.finished("a", "ka", slot="a", output=naming(5))
    scene.finished("b", "kb", "retry", slot="b", progress=naming(6))
    same(_trim(scene, None), (0, 0, 2), "what it removed")
    same(_blobs(scene), [f"b{n}" for n in range(8)], "the blobs that are left")
    same(_blobs(scene, "t2"), ["b9"], "another thread's")
    same(_trim(scene, None), (0, 0, 0), "the same again")


@LEDGER
def trim_frees_the_blobs_of_what_it_removes(scene: Scene) -> None:
    """With a checkpoint and its tasks go the blobs that nothing else names; one that is named twice stays."""
    scene.worker()
    scene.submit()
    before, task = None, "r.start"
    for number in range(4):
        scene.claimed(task, f"k{number}")
        checkpoint = scene.new_checkpoint(f"c{number}", before, state=naming(number if number < 3 else 0))
        settle = scene.settle(f"c{number}", before, scene.new_task(f"n{number}"))
        settle.checkpoints = [checkpoint]
        scene.finished(task, f"k{number}", settle=settle, blobs=[blob(number)])
        before, task = f"c{number}", f"n{number}"
    same(_trim(scene, 2), (2, 2, 2), "what it removed")
    same(_blobs(scene), ["b0", "b2"], "what is left: of the removed, one is named by the newest too")
    same(scene.store.trim(scene.id("t"), 2).blobs, 0, "the same again")


@LEDGER
def trim_of_a_running_thread(scene: Scene) -> None:
    """Whenever it comes, a running thread has what it needs: bases, outputs to join, and its end."""
    scene.chain("c1", "c2")

    def trim() -> None:
        scene.store.trim(scene.id("t"), 1)

    trim()
    scene.claimed("c2.next", "k")
    trim()
    fan = [scene.new_task(name) for name in "abd"]
    scene.finished("c2.next", "k", settle=scene.settle("c3", "c2", *fan))
    for task in "abd":
        trim()
        base = scene.claimed(task, f"k{task}", slot=task).base
        same(base and scene.name(base), "c3", f"the base of {task}")
    for task in "abd":
        trim()
        answer = scene.finished(task, f"k{task}", slot=task)
    same([o.node for o in answer.advance.outputs] if answer.advance else [], ["a", "b", "d"], "the outputs")
    scene.store.release(scene.id("w"), slots=["d"])
    trim()
    same([o.node for o in scene.claimed("d.adv", "k2").outputs], ["a", "b", "d"], "those of the next claim")
    scene.finished("d.adv", "k2", settle=scene.settle("c4", "c3"))
    trim()
    same((scene.run().status, scene.history()), ("succeeded", ["c4", "c3"]), "the end")
    holds(scene.store.load(scene.id("c4")).state == {"at": "c4"}, "the last state can be loaded")


@LEDGER
def trim_then_replay(scene: Scene) -> None:
    """A failed run's superstep survives a trim, so that it can be replayed."""
    scene.chain("c1", "c2")
    scene.claimed("c2.next", "k")
    scene.finished("c2.next", "k", "failed")
    scene.store.trim(scene.id("t"), 1)
    answer = scene.store.replay(scene.id("r"), [(scene.id("c2.next"), scene.id("again"))])
    same(answer.result, "committed", "the replay")
    base = scene.claimed("again", "k2").base
    same(base and scene.name(base), "c2", "its base")
