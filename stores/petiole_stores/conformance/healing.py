"""Checks of what is damaged and mended: seals, ``quarantine``, ``replace_blobs``, and dropped dead letters."""

from __future__ import annotations

from msgspec.structs import replace

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.integrity import damage_of, seal_of
from petiole_stores.records import Blob, Checkpointed


def _stored(scene: Scene, name: str) -> Checkpointed:
    found = scene.store.get_checkpoint(scene.id(name))
    if found is None:
        raise AssertionError(f"checkpoint {name} is missing")
    return found


@LEDGER
def seals_are_kept(scene: Scene) -> None:
    """A checkpoint's seal is stored and shown everywhere, and still fits the row that comes back."""
    scene.begin("a")
    scene.claimed("a", "k")
    made = scene.new_checkpoint(
        "c1", "r.c0", next='[{"path": "pull:b", "node": "b"}]', control='{"z": [1, {"y": 2}], "a": "\\u00fc"}',
        metadata='{"writes": {"b": 1.0, "a": null}}', node_names=["a", "b"], step=3,
    )  # fmt: skip
    made.seal = seal_of(made)
    settle = scene.settle("c1", "r.c0", scene.new_task("b"))
    settle.checkpoints = [made]
    scene.finished("a", "k", settle=settle)
    stored = _stored(scene, "c1")
    same((stored.seal, seal_of(stored), damage_of(stored)), (made.seal, made.seal, None), "the checkpoint")
    claim = scene.claimed("b", "kb")
    same(claim.base and claim.base.seal, made.seal, "a claim's base")
    listed = scene.store.list_checkpoints(scene.id("t"))
    same([c.seal for c in listed], [made.seal, ""], "the history; one was made without a seal")
    scene.save("h", "t2")
    by_hand = _stored(scene, "h")
    holds(by_hand.seal and damage_of(by_hand) is None, "one saved by hand has a seal that fits")


@LEDGER
def quarantine_marks(scene: Scene) -> None:
    """A quarantined checkpoint says so wherever it is shown; nothing else of it changes."""
    scene.chain("c1")
    before = _stored(scene, "c1")
    same(
        (before.quarantined, scene.store.quarantine(scene.id("none"), "x")),
        (None, False),
        "one that is not there",
    )
    for _ in range(2):
        same(scene.store.quarantine(scene.id("c1"), "its stäte is 'odd'"), True, "the answer")
    after = _stored(scene, "c1")
    same(after.quarantined, "its stäte is 'odd'", "why")
    same(replace(after, quarantined=None), before, "all else")
    head = scene.store.head(scene.id("t"))
    same(head and head.quarantined, "its stäte is 'odd'", "the head")
    base = scene.claimed("c1.next", "k").base
    same(base and base.quarantined, "its stäte is 'odd'", "a claim's base")
    shown = {scene.name(c): c.quarantined for c in scene.store.list_checkpoints(scene.id("t"))}
    same(shown, {"c1": "its stäte is 'odd'", "r.c0": None}, "the history")
    scene.store.quarantine(scene.id("c1"), "worse")
    same(_stored(scene, "c1").quarantined, "worse", "another reason")


@LEDGER
def save_heals(scene: Scene) -> None:
    """A quarantined checkpoint that is saved anew is sound, in its old place, also while its run is active."""
    scene.chain("c1", "c2")
    scene.store.quarantine(scene.id("c1"), "damaged")
    before = _stored(scene, "c1")
    healed = Checkpoint(
        id=scene.id("c1"),
        thread_id=scene.id("t"),
        run_id=scene.id("r"),
        parent_id=scene.id("r.c0"),
        state={"n": 1},
    )
    scene.store.save(healed)
    stored = _stored(scene, "c1")
    same((stored.quarantined, stored.seq, stored.run_id), (None, before.seq, scene.id("r")), "the checkpoint")
    same(scene.store.load(scene.id("c1")).state, {"n": 1}, "its state")
    same((scene.history(), scene.head()), (["c2", "c1", "r.c0"], "c2"), "history and head")
    scene.claimed("c2.next", "k")
    scene.finished("c2.next", "k", settle=scene.settle("c3", "c2"))


@LEDGER
def replace_blobs_writes_over(scene: Scene) -> None:
    """Blobs are written in place of those of the same digest, of this thread alone."""
    blobs = [Blob(digest=d, codec="raw", data=b"old", checksum="old") for d in ("x", "y")]
    for run, thread in (("r", "t"), ("r2", "t2")):
        scene.submit(run, thread, blobs=blobs)
    new = Blob(digest="x", codec="zlib", data=b"new \x00", checksum="new")
    for _ in range(2):
        scene.store.replace_blobs(scene.id("t"), [new])
    same(scene.store.get_blobs(scene.id("t"), ["x", "y"]), {"x": new, "y": blobs[1]}, "the thread's blobs")
    same(
        scene.store.get_blobs(scene.id("t2"), ["x", "y"]), {"x": blobs[0], "y": blobs[1]}, "another thread's"
    )
    lost = Blob(digest="z", codec="raw", data=b"z", checksum="z")
    scene.store.replace_blobs(scene.id("t"), [lost])
    same(scene.store.get_blobs(scene.id("t"), ["z"]), {"z": lost}, "one that was gone")
    scene.store.replace_blobs(scene.id("t"), [])


@LEDGER
def drop_takes_dead_letters_off(scene: Scene) -> None:
    """Failed tasks are marked as dropped once; others and what a replay has replaced are not; they stay on record."""
    scene.begin("a", "b", "c")
    for task, ending in (("a", "failed"), ("b", "failed"), ("c", "done")):
        scene.claimed(task, f"k{task}")
        scene.finished(task, f"k{task}", ending)
    same(scene.store.drop(scene.ids("a", "a", "c", "missing", "r.start")), 1, "how many were dropped")
    same([scene.task(task).dropped for task in "abc"], [True, False, False], "which are marked")
    same((scene.task("a").status, scene.run().status), ("failed", "failed"), "the task and the run")
    before = scene.snapshot()
    same(scene.store.drop(scene.ids("a")), 0, "the same again")
    same(scene.snapshot(), before, "the store after it")
    same(scene.store.drop([]), 0, "an empty batch")
    pairs = [(scene.id(task), scene.id(f"{task}2")) for task in "ab"]
    same(scene.store.replay(scene.id("r"), pairs).result, "committed", "a replay of what was dropped")
    same(
        (scene.task("a2").dropped, scene.store.drop(scene.ids("b", "a2"))),
        (False, 0),
        "replaced, and not failed",
    )
