"""Checks of what a settle says beside checkpoints and tasks, of relaxed outcomes, and of what workers offer."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene
from petiole_stores.records import Offer, Worker


@LEDGER
def settle_names_the_version(scene: Scene) -> None:
    """A run without version and fingerprint takes those of its first settle, and keeps them."""
    scene.worker()
    scene.submit()
    scene.claimed("r.start", "k")
    settle = scene.settle("c0", None, scene.new_task("a"))
    settle.version, settle.fingerprint = "2", "abc"
    scene.finished("r.start", "k", settle=settle)
    same((scene.run().version, scene.run().fingerprint), ("2", "abc"), "the run after its first settle")
    scene.tick(scene.store.grace)
    same([ref.version for ref in scene.store.due(queue=scene.queue)], ["2"], "the ref of its task")
    claim = scene.claimed("a", "ka")
    same((claim.run.version, claim.run.fingerprint), ("2", "abc"), "the run in a claim")
    settle = scene.settle("c1", "c0")
    settle.version, settle.fingerprint = "3", "def"
    scene.finished("a", "ka", settle=settle)
    same((scene.run().version, scene.run().fingerprint), ("2", "abc"), "the run after another's settle")


@LEDGER
def settle_keeps_the_version(scene: Scene) -> None:
    """A run that was submitted with a version or a fingerprint keeps what it was given."""
    for run, fields in (("r1", {"version": "1"}), ("r2", {"fingerprint": "f"})):
        scene.worker()
        scene.submit(run, run, **fields)
        scene.claimed(f"{run}.start", f"{run}.k")
        settle = scene.settle(f"{run}.c0", None)
        settle.version, settle.fingerprint = "9", "z"
        scene.finished(f"{run}.start", f"{run}.k", settle=settle)
        found = scene.run(run)
        same(
            (found.version, found.fingerprint),
            (fields.get("version"), fields.get("fingerprint")),
            f"{run}, given {fields}",
        )


@LEDGER
def relaxed_outcomes_are_taken(scene: Scene) -> None:
    """A relaxed outcome is judged, kept and repeated as any other, alone and beside strict ones."""
    scene.begin("a", "b", "c")
    for task in "abc":
        scene.claimed(task, f"k{task}", slot=task)
    same(scene.finished("a", "ka", slot="a", relaxed=True).open, 2, "open after the first")
    mixed = [scene.outcome("b", "kb", "retry", relaxed=True), scene.outcome("c", "kc")]
    same(
        [a.result for a in scene.store.finish(scene.id("w"), "s", mixed)], ["committed"] * 2, "a mixed batch"
    )
    same([a.result for a in scene.store.finish(scene.id("w"), "s", mixed)], ["already"] * 2, "the same again")
    same(scene.finish("a", "ka", slot="a", relaxed=True).result, "already", "the first again")
    scene.claimed("b", "kb2")
    answer = scene.finished("b", "kb2", relaxed=True)
    same(
        [o.node for o in answer.advance.outputs] if answer.advance else [],
        ["a", "b", "c"],
        "the outputs to join",
    )
    scene.finished("b.adv", "kb2.adv", relaxed=True, settle=scene.settle("c1", "r.c0"))
    same((scene.run().status, scene.head()), ("succeeded", "c1"), "the run and the head")
    same(scene.finish("a", "other", relaxed=True).reason, "fenced", "one under a wrong token")


@LEDGER
def beat_keeps_the_offers(scene: Scene) -> None:
    """What a worker says it serves of each graph comes back whole, and the last beat's word counts."""
    offers = {
        "g": Offer(version="1", fingerprint="abc", policy="pin", nodes=["a", "ü b"]),
        "a'b": Offer(),
    }
    for said in (offers, {"h": Offer(fingerprint="x")}, {}):
        scene.store.beat(Worker(worker_id=scene.id("w"), name="w", offers=said))
        found = next(w for w in scene.store.list_workers() if w.worker_id == scene.id("w"))
        same(found.offers, said, "the offers")
