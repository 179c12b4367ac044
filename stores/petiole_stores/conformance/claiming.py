"""Checks of ``claim``: tokens, refusals, lost answers, batches, and what an advance is given."""

from __future__ import annotations

import json

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document


@LEDGER
def claim_takes(scene: Scene) -> None:
    """A ready task is claimed under the caller's token; the run is running from then on."""
    scene.worker()
    scene.submit()
    scene.tick(1)
    claim = scene.claimed("r.start", "k")
    task = claim.task
    same(
        (task.status, task.token, task.holder, task.slot),
        ("claimed", scene.id("k"), scene.id("w"), "s"),
        "the task",
    )
    same(
        (task.attempt, task.started, task.claimed_at, task.next_publish),
        (1, True, scene.now, None),
        "the attempt",
    )
    same((claim.width, claim.base, claim.outputs), (1, None, []), "width, base and outputs")
    same((claim.run.status, claim.run.started_at), ("running", scene.now), "the run in the claim")
    same((scene.run().status, scene.task("r.start")), ("running", task), "what is stored")
    scene.tick(1000)
    same(scene.due(), [], "a claimed task is never due")


@LEDGER
def claim_twice_is_already(scene: Scene) -> None:
    """The same token again is already: the claim comes once more and nothing is counted."""
    scene.worker()
    scene.submit()
    first = scene.claimed("r.start", "k")
    before = scene.snapshot()
    scene.tick(1)
    again = scene.claim("r.start", "k")
    same((again.result, again.claim), ("already", first), "the second answer")
    same(scene.snapshot(), before, "the store after it")


@LEDGER
def claim_refused_while_held(scene: Scene) -> None:
    """Another token is refused while the task is claimed, by whomever."""
    scene.worker()
    scene.worker("w2")
    scene.submit()
    scene.claimed("r.start", "k")
    before = scene.snapshot()
    for holder, slot in (("w", "s2"), ("w2", "s")):
        answer = scene.claim("r.start", "k2", holder=holder, slot=slot)
        same(
            (answer.result, answer.reason, answer.claim), ("refused", "claimed", None), f"a claim by {holder}"
        )
    same(scene.snapshot(), before, "the store after it")


@LEDGER
def claim_needs_a_living_holder(scene: Scene) -> None:
    """A holder that never beat, is dead or has stopped is refused, before anything else is looked at."""
    scene.submit()
    same(scene.claim("r.start", "k").reason, "holder unknown", "a claim by nobody")
    same(scene.claim("missing", "k").reason, "holder unknown", "a claim of nothing by nobody")
    scene.worker()
    scene.tick(16)
    holds(scene.id("w") in scene.store.sweep().died, "the sweep finds it dead")
    same(scene.claim("r.start", "k").reason, "holder dead", "a claim by the dead")
    scene.worker("w2")
    scene.store.release(scene.id("w2"), final=True)
    same(scene.claim("r.start", "k", holder="w2").reason, "holder stopped", "a claim by the stopped")
    same(scene.task("r.start").attempt, 0, "attempts")
    scene.worker("w3", status="stopping")
    same(scene.claim("r.start", "k", holder="w3").result, "committed", "a claim by one that is stopping")


@LEDGER
def claim_refuses_missing(scene: Scene) -> None:
    """A task that does not exist is refused as missing."""
    scene.worker()
    answer = scene.claim("nothing", "k")
    same(
        (answer.task_id, answer.result, answer.reason),
        (scene.id("nothing"), "refused", "missing"),
        "the answer",
    )


@LEDGER
def claim_refuses_a_settled_run(scene: Scene) -> None:
    """A settled run's tasks are refused with the run's status, a done task of a running one with its own."""
    scene.begin("a", "b")
    same(scene.claim("r.start", "k").reason, "done", "a claim of a done task")
    scene.store.cancel(scene.ids("r"))
    same(scene.claim("a", "k").reason, "run cancelled", "a claim in a cancelled run")


@LEDGER
def claim_frees_the_slots_other_claims(scene: Scene) -> None:
    """A slot's claims whose tokens it does not list are ready again at once, for their answer was lost."""
    scene.begin("a", "b", "c", "d")
    for task in ("a", "b"):
        scene.claimed(task, f"k{task}", holds=["ka"])
    scene.claimed("d", "kd", slot="s2")
    scene.tick(1)
    scene.claimed("c", "kc", holds=["kb"])
    lost = scene.task("a")
    same(
        (lost.status, lost.token, lost.holder, lost.recovered),
        ("ready", None, None, True),
        "the one not listed",
    )
    same(
        [(a.attempt, a.outcome, a.holder) for a in lost.attempts],
        [(1, "lost", scene.id("w"))],
        "its attempts",
    )
    same((lost.next_publish, lost.crashes), (scene.now, 0), "when it is due, and its crashes")
    same([scene.task(name).status for name in "bcd"], ["claimed"] * 3, "the listed, the new, another slot's")
    same(scene.due(), ["a"], "what is due")
    same(scene.finish("a", "ka").reason, "fenced", "a finish under the lost token")


@LEDGER
def claim_again_under_a_new_token(scene: Scene) -> None:
    """A slot that forgot a claim may claim the same task anew in the same call."""
    scene.begin("a")
    scene.claimed("a", "k1")
    claim = scene.claimed("a", "k2")
    same((claim.task.attempt, claim.task.token), (2, scene.id("k2")), "the new claim")
    same([a.outcome for a in claim.task.attempts], ["lost"], "the attempt before it")


@LEDGER
def claim_many(scene: Scene) -> None:
    """A batch is answered in order; its first is started, and a task named twice is claimed once."""
    scene.begin("a", "b", "c")
    wants = [("b", "kb"), ("missing", "km"), ("a", "ka"), ("b", "kb2"), ("a", "ka")]
    answers = scene.store.claim(scene.id("w"), "s", [(scene.id(t), scene.id(k)) for t, k in wants])
    same([a.task_id for a in answers], scene.ids("b", "missing", "a", "b", "a"), "the order")
    same(
        [a.result for a in answers],
        ["committed", "refused", "committed", "refused", "already"],
        "the results",
    )
    same(answers[3].reason, "claimed", "the second token for one task")
    same([scene.task(name).started for name in "bac"], [True, False, False], "which have started")
    same([scene.task(name).attempt for name in "bac"], [1, 1, 0], "attempts")


@LEDGER
def claim_gives_the_base(scene: Scene) -> None:
    """A claim holds the checkpoint that the task starts from, and the width of its superstep."""
    scene.begin("a", "b", "c")
    claim = scene.claimed("b", "k")
    same((claim.base and scene.name(claim.base), claim.width), ("r.c0", 3), "base and width")
    same(claim.base and claim.base.seq, scene.store.list_checkpoints(scene.id("t"))[0].seq, "the base's seq")


@LEDGER
def claim_gives_the_base_of_many_alike(scene: Scene) -> None:
    """The base of a wide superstep comes whole with each of its tasks, and says so once it is quarantined."""
    scene.worker()
    scene.submit("r", "t")
    scene.claimed("r.start", "ks")
    settle = scene.settle("r.c0", None, *map(scene.new_task, "abcd"))
    settle.checkpoints[0].next = json.dumps([{"node": f"node {number}"} for number in range(1_000)])
    scene.finished("r.start", "ks", settle=settle)
    claims = [scene.claimed(task, f"k{task}", slot=task) for task in "abc"]
    stored = scene.store.get_checkpoint(scene.id("r.c0"))
    same([claim.base for claim in claims], [stored] * 3, "the bases")
    scene.store.quarantine(scene.id("r.c0"), "it is damaged")
    base = scene.claimed("d", "kd", slot="d").base
    same(base and base.quarantined, "it is damaged", "the base of the next one")


@LEDGER
def claim_pushes_what_was_published(scene: Scene) -> None:
    """``published`` moves the next publishing of a ready, never pushed task one step on; once."""
    scene.begin("a", "b")
    scene.tick(1)
    scene.store.claim(scene.id("w"), "s", [], published=scene.ids("a", "missing", "r.start"))
    task, later = scene.task("a"), scene.now + 2 * scene.store.grace
    same((task.publishes, task.next_publish, task.published_at), (1, later, scene.now), "the published task")
    same(scene.task("b").next_publish, scene.now - 1 + scene.store.grace, "the other")
    scene.tick(1)
    scene.store.claim(scene.id("w"), "s", [(scene.id("b"), scene.id("kb"))], published=scene.ids("a", "b"))
    same((scene.task("a").publishes, scene.task("a").next_publish), (1, later), "the same again")
    same(
        (scene.task("b").publishes, scene.task("b").next_publish), (0, None), "one that the same call claimed"
    )


@LEDGER
def claim_of_an_advance_has_the_outputs(scene: Scene) -> None:
    """An advance's claim has its siblings' outputs in path order, whoever finished first."""
    scene.begin("b", "a", "c")
    for task in ("c", "b", "a"):
        scene.claimed(task, f"k{task}", slot=task)
    for task in ("c", "a"):
        scene.finished(task, f"k{task}", slot=task)
    answer = scene.finished("b", "kb", slot="b")
    holds(answer.advance is not None, "the last finish holds the advance")
    if answer.advance is not None:
        same(
            [(o.path, o.node) for o in answer.advance.outputs],
            [(f"pull:{n}", n) for n in "abc"],
            "its outputs",
        )
    scene.store.release(scene.id("w"), slots=["b"])
    again = scene.claimed("b.adv", "k2")
    same(
        [document(o.output) for o in again.outputs],
        [{"by": n} for n in "abc"],
        "the outputs for the next claim",
    )
    same(
        (again.width, again.task.kind, again.base and scene.name(again.base)),
        (3, "advance", "r.c0"),
        "the claim",
    )
