"""Checks of what a settle says beside checkpoints and tasks, of relaxed outcomes, and of what workers offer."""

from __future__ import annotations

from petiole_stores.conformance.report import same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import Blob, Offer, Outcome, Worker


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


def _carried(scene: Scene) -> list[Outcome]:
    """Three settles in one finish: ``a``, then ``b`` and ``c``, each made by the settle before it."""
    return [
        scene.outcome(
            "a", "ka", settle=scene.settle("c1", "r.c0", scene.new_task("b", token=scene.id("kb")))
        ),
        scene.outcome("b", "kb", settle=scene.settle("c2", "c1", scene.new_task("c", token=scene.id("kc")))),
        scene.outcome("c", "kc", settle=scene.settle("c3", "c2", scene.new_task("d"))),
    ]


@LEDGER
def finish_ends_what_it_made(scene: Scene) -> None:
    """One finish may end a task that an earlier outcome's settle made; said again all of it is already."""
    scene.begin("a")
    scene.claimed("a", "ka")
    same(scene.store.finish(scene.id("w"), "s", _carried(scene)[1:])[0].reason, "missing", "the second alone")
    answers = scene.store.finish(scene.id("w"), "s", _carried(scene))
    same([(a.result, a.reason, a.open) for a in answers], [("committed", "", 1)] * 3, "the answers")
    same((scene.head(), scene.history()), ("c3", ["c3", "c2", "c1", "r.c0"]), "head and history")
    same([scene.task(name).status for name in "abcd"], ["done", "done", "done", "ready"], "the tasks")
    same((scene.task("b").attempt, scene.task("b").holder), (1, scene.id("w")), "one of those in between")
    before = scene.snapshot()
    again = scene.store.finish(scene.id("w"), "s", _carried(scene))
    same([a.result for a in again], ["already"] * 3, "the answers said again")
    same(scene.snapshot(), before, "the store after it")
    same(
        [scene.store.load(scene.id(c)).state for c in ("c1", "c2", "c3")],
        [{"at": c} for c in ("c1", "c2", "c3")],
        "states",
    )


@LEDGER
def finish_ends_what_it_made_with_blobs(scene: Scene) -> None:
    """Each of those outcomes brings blobs of its own, and each checkpoint can be loaded with them."""
    scene.begin("a")
    scene.claimed("a", "ka")
    outcomes = _carried(scene)
    for number, outcome in enumerate(outcomes):
        outcome.blobs = [Blob(digest=f"b{number}", codec="raw", data=bytes([number]), checksum=f"s{number}")]
    scene.store.finish(scene.id("w"), "s", outcomes)
    found = scene.store.get_blobs(scene.id("t"), ["b0", "b1", "b2"])
    same(found, {blob.digest: blob for outcome in outcomes for blob in outcome.blobs}, "the blobs")
    shown = [(c.state, c.quarantined) for c in scene.store.list_checkpoints(scene.id("t"), limit=3)]
    same(
        [(document(s), q) for s, q in shown],
        [({"at": c}, None) for c in ("c3", "c2", "c1")],
        "the checkpoints",
    )


@LEDGER
def finish_ends_what_it_made_while_held_back(scene: Scene) -> None:
    """A run that is held back takes such a finish whole; a task that would be left claimed is born ready."""
    scene.begin("a")
    scene.claimed("a", "ka")
    scene.store.pause(scene.ids("r"))
    outcomes = _carried(scene)
    last = scene.outcome(
        "c", "kc", settle=scene.settle("c3", "c2", scene.new_task("d", token=scene.id("kd")))
    )
    answers = scene.store.finish(scene.id("w"), "s", [*outcomes[:2], last])
    same([(a.result, a.run_status) for a in answers], [("committed", "paused")] * 3, "the answers")
    same((scene.head(), scene.run().status), ("c3", "paused"), "head and run")
    task = scene.task("d")
    same((task.status, task.token, task.attempt), ("ready", None, 0), "what comes next")


@LEDGER
def finish_ends_what_it_made_or_nothing_after_it(scene: Scene) -> None:
    """When an earlier outcome is refused, what it would have made is missing to the later ones."""
    scene.begin("a")
    scene.claimed("a", "ka")
    outcomes = _carried(scene)
    outcomes[0].token = scene.id("wrong")
    before = scene.snapshot()
    answers = scene.store.finish(scene.id("w"), "s", outcomes)
    same([a.reason for a in answers], ["fenced", "missing", "missing"], "the answers")
    same(scene.snapshot(), before, "the store after it")


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
