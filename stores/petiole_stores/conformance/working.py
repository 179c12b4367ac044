"""Checks of ``beat``, ``release`` and ``sweep``: leases, death, revival and crashes, by the scene's clock."""

from __future__ import annotations

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import Worker


def _worker(scene: Scene, name: str = "w") -> Worker | None:
    return next((w for w in scene.store.list_workers() if w.worker_id == scene.id(name)), None)


@LEDGER
def beat_registers(scene: Scene) -> None:
    """The first beat registers a worker with all it says of itself; later ones renew the lease."""
    said = Worker(
        worker_id=scene.id("w"), name="wörker", host="h", pid=7, lease=15.0, graphs={"g": "1/f"}, queues=["q", "r"],
        pool="prefork", concurrency=4, stats={"tasks": 1.5},
    )  # fmt: skip
    answer = scene.store.beat(said)
    same((answer.now, answer.revived, answer.claims), (scene.now, False, []), "the answer")
    stored, at = _worker(scene), scene.now
    holds(stored is not None, "the worker is listed")
    if stored is not None:
        same((stored.started_at, stored.beat_at, stored.expires_at), (at, at, at + 15), "its times")
        same((stored.name, stored.graphs, stored.queues, stored.stats), ("wörker", {"g": "1/f"}, ["q", "r"], {"tasks": 1.5}),
             "what it said")  # fmt: skip
    scene.tick(10)
    said.status, said.stats = "stopping", {}
    scene.store.beat(said)
    stored = _worker(scene)
    if stored is not None:
        same(
            (stored.started_at, stored.expires_at, stored.status, stored.stats),
            (at, at + 25, "stopping", {}),
            "renewed",
        )


@LEDGER
def beat_tells_the_claims(scene: Scene) -> None:
    """A beat's answer names the tasks that the worker holds, over all its slots."""
    scene.begin("a", "b", "c")
    scene.claimed("b", "kb", slot="s2")
    scene.claimed("a", "ka")
    scene.worker("w2")
    scene.claimed("c", "kc", holder="w2")
    answer = scene.store.beat(Worker(worker_id=scene.id("w"), name="w"))
    same(answer.claims, scene.ids("a", "b"), "its claims")


@LEDGER
def beat_pushes_what_was_published(scene: Scene) -> None:
    """A beat's ``published`` moves the next publishing of a ready task one step on; once."""
    scene.begin("a")
    for _ in range(2):
        scene.store.beat(Worker(worker_id=scene.id("w"), name="w"), published=scene.ids("a", "missing"))
        same(
            (scene.task("a").publishes, scene.task("a").next_publish),
            (1, scene.now + 2 * scene.store.grace),
            "it",
        )


@LEDGER
def sweep_declares_the_silent_dead(scene: Scene) -> None:
    """A worker whose lease is over is dead: its tasks are ready, due at once, recovered, and keep their token."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.tick(15)
    holds(scene.id("w") not in scene.store.sweep().died, "a lease holds to its last moment")
    scene.tick(0.25)
    holds(scene.id("w") in scene.store.sweep().died, "a lease that is over")
    stored = _worker(scene)
    same(stored and stored.status, "dead", "the worker")
    task = scene.task("a")
    same(
        (task.status, task.token, task.holder, task.recovered),
        ("ready", scene.id("k"), scene.id("w"), True),
        "the task",
    )
    same(
        (task.next_publish, task.crashes, task.attempts),
        (scene.now, 0, []),
        "its outbox; a lost lease is no crash",
    )
    same(scene.run().status, "running", "the run")
    holds(scene.id("w") not in scene.store.sweep().died, "nobody dies twice")


@LEDGER
def sweep_kills_nobody_after_an_outage(scene: Scene) -> None:
    """Nobody is declared dead by a caller that has seen the store answer for less than a lease."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(100)
    holds(scene.id("w") not in scene.store.sweep(observed=14.5).died, "after 14.5 s of a 15 s lease")
    same(scene.task("a").status, "claimed", "the task")
    holds(scene.id("w") in scene.store.sweep(observed=15.0).died, "after 15 s")


@LEDGER
def dead_may_still_finish(scene: Scene) -> None:
    """Until somebody else claims, a dead worker's token may finish."""
    scene.begin("a", "b")
    scene.claimed("a", "ka")
    scene.claimed("b", "kb", slot="s2")
    scene.tick(16)
    scene.store.sweep()
    scene.worker("w2")
    claim = scene.claimed("b", "kb2", holder="w2")
    same(
        [(a.outcome, a.holder, a.attempt) for a in claim.task.attempts],
        [("lost", scene.id("w"), 1)],
        "its attempts",
    )
    same((claim.task.attempt, claim.task.holder), (2, scene.id("w2")), "the new claim")
    same(scene.finish("a", "ka").result, "committed", "the finish of the task that nobody took")
    same(scene.finish("b", "kb").reason, "fenced", "the finish of the task that somebody took")
    same(scene.finish("b", "kb2", holder="w2").result, "committed", "the new holder's finish")


@LEDGER
def dead_may_ask_for_a_retry(scene: Scene) -> None:
    """A dead worker's retry under a token that nobody took over is a retry like any other."""
    scene.begin("a")
    scene.claimed("a", "ka")
    scene.tick(16)
    scene.store.sweep()
    scene.finished("a", "ka", "retry")
    task = scene.task("a")
    same(
        (task.status, task.token, [a.outcome for a in task.attempts]), ("ready", None, ["retry"]), "the task"
    )


@LEDGER
def dead_holders_advance_is_swept(scene: Scene) -> None:
    """What a dead holder took by a late finish is freed by the next sweep, though it died before."""
    scene.begin("a", "b")
    scene.begin("x", run="r2", thread="t2")
    for task in "abx":
        scene.claimed(task, f"k{task}", slot=task)
    scene.tick(16)
    scene.store.sweep()
    for task in "ab":
        scene.finished(task, f"k{task}", slot=task)
    inline = scene.new_task("y", token=scene.id("ky"))
    scene.finished("x", "kx", slot="x", settle=scene.settle("x1", "r2.c0", inline))
    same(
        (scene.task("b.adv").status, scene.task("y", "r2").status),
        ("claimed", "claimed"),
        "the advance, the next task",
    )
    scene.tick(1)
    scene.store.sweep()
    for taken in (scene.task("b.adv"), scene.task("y", "r2")):
        same(
            (taken.status, taken.recovered, taken.next_publish), ("ready", True, scene.now), "after the sweep"
        )
    same(sorted(scene.due()), ["b.adv", "y"], "what is due")
    scene.finished("b.adv", "kb.adv", settle=scene.settle("c1", "r.c0"))


@LEDGER
def dead_may_come_back(scene: Scene) -> None:
    """A beat revives a dead worker, and what nobody claimed in between is its own again."""
    scene.begin("a", "b")
    scene.claimed("a", "ka")
    scene.claimed("b", "kb", slot="s2")
    scene.tick(16)
    scene.store.sweep()
    scene.worker("w2")
    scene.claimed("b", "kb2", holder="w2")
    answer = scene.store.beat(Worker(worker_id=scene.id("w"), name="w"))
    same((answer.revived, answer.claims), (True, scene.ids("a")), "the answer")
    task = scene.task("a")
    same(
        (task.status, task.token, task.attempt, task.next_publish),
        ("claimed", scene.id("ka"), 1, None),
        "the task",
    )
    same(scene.store.beat(Worker(worker_id=scene.id("w"), name="w")).revived, False, "the next beat")
    same(scene.claim("a", "k3", holder="w2").reason, "claimed", "a claim by another")


@LEDGER
def sweep_forgets_workers_in_time(scene: Scene) -> None:
    """A worker that is over is remembered for 7 days."""
    scene.worker()
    scene.store.release(scene.id("w"), final=True)
    scene.tick(7 * 86400)
    scene.store.sweep()
    holds(_worker(scene) is not None, "it is listed after 7 days")
    scene.tick(1)
    scene.store.sweep()
    same(_worker(scene), None, "the worker after that")


@LEDGER
def release_gives_up(scene: Scene) -> None:
    """Released tasks are ready, due at once and recovered; their tokens are void; nobody is charged."""
    scene.begin("a", "b", "c")
    scene.claimed("a", "ka", slot="s1")
    scene.claimed("b", "kb", slot="s2")
    scene.tick(1)
    refs = scene.store.release(scene.id("w"), slots=["s1", "s9"])
    same(
        [(n, r.priority) for n, r in zip(scene.names(refs), refs, strict=True)], [("a", "high")], "the answer"
    )
    task = scene.task("a")
    same(
        (task.status, task.token, task.holder, task.slot, task.crashes),
        ("ready", None, None, None, 0),
        "the task",
    )
    same((task.recovered, task.next_publish), (True, scene.now), "its outbox")
    same(
        [(a.outcome, a.slot, a.ended_at) for a in task.attempts],
        [("released", "s1", scene.now)],
        "its attempts",
    )
    same(scene.task("b").status, "claimed", "another slot's task")
    same(scene.finish("a", "ka").reason, "fenced", "a finish under the old token")
    same(scene.store.release(scene.id("w"), slots=["s1"]), [], "the same again")
    same(scene.names(scene.store.release(scene.id("w"))), ["b"], "all slots")
    stored = _worker(scene)
    same(stored and stored.status, "alive", "the worker")


@LEDGER
def release_final(scene: Scene) -> None:
    """A final release ends the holder: stopped, or dead when it crashed."""
    scene.begin("a")
    scene.claimed("a", "k")
    same(scene.names(scene.store.release(scene.id("w"), final=True)), ["a"], "the answer")
    stored = _worker(scene)
    same(stored and (stored.status, stored.expires_at), ("stopped", scene.now), "the worker")
    scene.worker("w2")
    scene.store.release(scene.id("w2"), crashed=True, final=True)
    stored = _worker(scene, "w2")
    same(stored and stored.status, "dead", "the crashed")
    same(scene.store.release(scene.id("nobody"), final=True), [], "a holder that is not known")


@LEDGER
def release_after_death(scene: Scene) -> None:
    """A release of a worker that a sweep found dead first still charges its crash and voids its tokens."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(16)
    scene.store.sweep()
    same(scene.names(scene.store.release(scene.id("w"), crashed=True, final=True)), ["a"], "the answer")
    task = scene.task("a")
    same((task.crashes, task.token, [a.outcome for a in task.attempts]), (1, None, ["crashed"]), "the task")
    same(scene.finish("a", "k").reason, "fenced", "a finish under the old token")


@LEDGER
def crash_charges_what_had_started(scene: Scene) -> None:
    """A crash is charged to the started task of a batch; its neighbours are released."""
    scene.begin("a", "b")
    scene.store.claim(scene.id("w"), "s", [(scene.id(t), scene.id(f"k{t}")) for t in "ab"])
    same(
        sorted(scene.names(scene.store.release(scene.id("w"), slots=["s"], crashed=True))),
        ["a", "b"],
        "the answer",
    )
    first, second = scene.task("a"), scene.task("b")
    same((first.crashes, first.attempts[0].outcome), (1, "crashed"), "the started one")
    same((second.crashes, second.attempts[0].outcome), (0, "released"), "the other")


@LEDGER
def crash_too_often_fails_the_task(scene: Scene) -> None:
    """After ``max_crashes`` crashes a task fails as WorkerLost, counts down and fails its run."""
    scene.begin("a", "b")
    scene.submit("r2", if_busy="enqueue")
    scene.claimed("b", "kb", slot="s2")
    scene.finished("b", "kb", slot="s2")
    for crash in range(1, scene.store.max_crashes + 1):
        scene.claimed("a", f"k{crash}")
        refs = scene.store.release(scene.id("w"), slots=["s"], crashed=True)
        wanted = ["a"] if crash < scene.store.max_crashes else ["r2.start"]
        same(scene.names(refs), wanted, f"the answer after crash {crash}")
    task, run = scene.task("a"), scene.run()
    same((task.status, task.crashes, task.token, task.next_publish), ("failed", 5, None, None), "the task")
    error = document(task.error)
    same((error["type"], error["node"], error["attempt"]), ("WorkerLost", "a", 5), "its error")
    same((run.status, document(run.error)), ("failed", error), "the run")
    same(scene.run("r2").status, "queued", "the next run")
    same(scene.task("r2.start", "r2").status, "ready", "the next run's start")


@LEDGER
def crash_too_often_waits_for_siblings(scene: Scene) -> None:
    """A task that fails by crashes leaves its siblings to end before the run fails."""
    scene.begin("a", "b")
    for crash in range(scene.store.max_crashes):
        scene.claimed("a", f"k{crash}")
        scene.store.release(scene.id("w"), crashed=True)
    same((scene.task("a").status, scene.run().status), ("failed", "running"), "the task and the run")
    scene.claimed("b", "kb")
    same(scene.finished("b", "kb").run_status, "failed", "the run after the sibling")
