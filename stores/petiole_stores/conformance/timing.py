"""Checks of delays, lifetimes and deadlines."""

from __future__ import annotations

from typing import Any

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.errors import InputError


def _expire(scene: Scene) -> list[str]:
    """The runs of this scene that a sweep lets fail, by name."""
    expired = scene.store.sweep().expired
    same(expired, sorted(expired), "the order of a sweep's expired runs")
    return [run_id.removeprefix(f"{scene.prefix}-") for run_id in expired if run_id.startswith(scene.prefix)]


@LEDGER
def submit_with_a_delay(scene: Scene) -> None:
    """A delay is counted from the submit by the store's clock: the run waits until then; 0 starts it at once."""
    answer = scene.submit(delay=100.0)
    same(
        (answer.publish, scene.run().status, scene.run().run_at), ([], "waiting", scene.now + 100), "the run"
    )
    at_once = scene.submit("r2", "t2", delay=0.0)
    same((scene.names(at_once.publish), scene.run("r2").status), (["r2.start"], "queued"), "one without")
    same(scene.run("r2").run_at, scene.now, "when it might start")
    scene.tick(1)
    again = scene.submit(delay=100.0)
    same((again.result, scene.run().run_at), ("already", scene.now + 99), "the same again")
    scene.tick(99)
    scene.store.sweep()
    same((scene.run().status, scene.due()), ("queued", ["r2.start", "r.start"]), "at its time")


@LEDGER
def submit_behind_with_a_delay(scene: Scene) -> None:
    """The delay of a run that is queued behind another runs from its submit too."""
    scene.begin("a")
    scene.submit("r2", if_busy="enqueue", delay=50.0)
    scene.submit("r3", if_busy="enqueue", delay=5.0)
    scene.tick(10)
    scene.store.sweep()
    same(
        (scene.run("r2").status, scene.task("r2.start", "r2").status), ("queued", "parked"), "the run behind"
    )
    scene.store.cancel(scene.ids("r"))
    same((scene.run("r2").status, scene.run("r2").run_at), ("waiting", scene.now + 40), "when it is its turn")
    answer = scene.store.cancel(scene.ids("r2"))[0]
    same(
        (scene.names(answer.publish), scene.run("r3").status),
        (["r3.start"], "queued"),
        "one whose time is over",
    )


@LEDGER
def submit_with_a_lifetime(scene: Scene) -> None:
    """A lifetime sets a deadline, counted from the later of now and the time at which the run may start."""
    cases: dict[str, tuple[dict[str, Any], float]] = {
        "r1": ({"lifetime": 60.0}, 60),
        "r2": ({"lifetime": 60.0, "delay": 100.0}, 160),
        "r3": ({"lifetime": 60.0, "run_at": scene.now + 10}, 70),
        "r4": ({"lifetime": 60.0, "run_at": scene.now - 10}, 60),
        "r5": ({"deadline": scene.now + 7, "delay": 100.0}, 7),
    }
    for run, (fields, seconds) in cases.items():
        scene.submit(run, f"t{run}", **fields)
        same(scene.run(run).deadline, scene.now + seconds, f"the deadline with {sorted(fields)}")
    scene.submit("r6", "t6")
    same(scene.run("r6").deadline, None, "the deadline without")
    wanted = scene.now + 60
    scene.tick(1)
    scene.submit("r1", "tr1", lifetime=60.0)
    same(scene.run("r1").deadline, wanted, "the deadline after the same submit again")


@LEDGER
def submit_checks_its_times(scene: Scene) -> None:
    """Times that contradict each other or are out of range are an InputError, and nothing is taken."""
    bad: list[dict[str, Any]] = [
        {"run_at": scene.now, "delay": 1.0},
        {"deadline": scene.now, "lifetime": 1.0},
        {"delay": -1.0},
        {"delay": float("nan")},
        {"delay": float("inf")},
        {"lifetime": 0.0},
        {"lifetime": -1.0},
        {"lifetime": float("nan")},
    ]
    for fields in bad:
        try:
            scene.store.submit([scene.new_run("r0", "t0"), scene.new_run(**fields)])
        except InputError:
            continue
        raise AssertionError(f"it took {fields}")
    same([scene.store.get_run(run_id) for run_id in scene.ids("r0", "r")], [None, None], "the runs")


@LEDGER
def deadline_fails_the_run(scene: Scene) -> None:
    """A run that has not settled at its deadline fails at the next sweep, with all its open tasks."""
    scene.begin("a", "b", "c", "d", deadline=scene.now + 10)
    for task in "abc":
        scene.claimed(task, f"k{task}", slot=task)
    scene.finished("a", "ka", slot="a")
    scene.finished("c", "kc", "retry", slot="c", delay=1000.0)
    scene.tick(9.75)
    same((_expire(scene), scene.run().status), ([], "running"), "before it")
    scene.tick(0.25)
    same(_expire(scene), ["r"], "the sweep at it")
    run = scene.run()
    same((run.status, run.ended_at), ("failed", scene.now), "the run")
    same(document(run.error)["type"], "DeadlineExceeded", "its error")
    same(scene.task("a").status, "done", "the task that was done")
    for name in "bcd":
        open_task = scene.task(name)
        same(
            (open_task.status, open_task.ended_at, open_task.token),
            ("failed", scene.now, None),
            f"task {name}",
        )
        same(
            (open_task.run_at, open_task.next_publish, document(open_task.error)),
            (None, None, document(run.error)),
            f"task {name}",
        )
    before = scene.snapshot()
    same(scene.finish("b", "kb", slot="b").reason, "fenced", "a late finish")
    same(scene.store.holds(scene.id("b"), scene.id("kb")), False, "whether its token holds")
    same(scene.claim("d", "kd").reason, "run failed", "a claim")
    scene.tick(2000)
    same((_expire(scene), scene.due(), scene.ready()), ([], [], 0), "later sweeps, due and backlog")
    same(scene.snapshot(), before, "the store after all this")


@LEDGER
def deadline_in_every_status(scene: Scene) -> None:
    """It ends runs that are queued, waiting, interrupted, paused, blocked or queued behind another as well."""
    at = scene.now + 10
    scene.submit("queued", "t1", deadline=at)
    scene.submit("waiting", "t2", deadline=at, run_at=scene.now + 1000)
    scene.begin("a", run="interrupted", thread="t3", deadline=at)
    scene.claimed("a", "k")
    scene.finished("a", "k", "interrupted")
    scene.begin("b", run="paused", thread="t4", deadline=at)
    scene.store.pause(scene.ids("paused"))
    scene.begin("c", run="blocked", thread="t5", deadline=at)
    scene.store.block(scene.ids("blocked"), kind="Unserved", reason="nobody")
    scene.begin("d", run="active", thread="t6")
    scene.submit("behind", "t6", if_busy="enqueue", deadline=at)
    scene.tick(10)
    names = sorted(["queued", "waiting", "interrupted", "paused", "blocked", "behind"])
    same(_expire(scene), names, "the sweep's answer")
    for name in names:
        run = scene.run(name)
        same(
            (run.status, run.reason, document(run.error)["type"]), ("failed", None, "DeadlineExceeded"), name
        )
        opened = [task.status for task in scene.tasks(name).values() if task.status != "done"]
        same(opened, ["failed"], f"what was open of {name}")
    same(scene.run("active").status, "running", "the run before the queued one")
    scene.claimed("d", "kd")
    answer = scene.finished("d", "kd", settle=scene.settle("d1", "active.c0"))
    same(answer.publish, [], "what starts after it")
    same(scene.submit("next", "t2").result, "committed", "a thread's next run")


@LEDGER
def deadline_starts_the_next(scene: Scene) -> None:
    """The thread's next queued run starts in the same sweep; one whose deadline is over too fails as well."""
    scene.begin("a", deadline=scene.now + 10)
    scene.submit("r2", if_busy="enqueue", deadline=scene.now + 10)
    scene.submit("r3", if_busy="enqueue", deadline=scene.now + 10.25)
    scene.submit("r4", if_busy="enqueue")
    scene.tick(10)
    same(_expire(scene), ["r", "r2"], "the sweep's answer")
    same((scene.run("r3").status, scene.task("r3.start", "r3").status), ("queued", "ready"), "the next run")
    same(
        (scene.run("r4").status, scene.task("r4.start", "r4").status),
        ("queued", "parked"),
        "the one after it",
    )
    scene.tick(scene.store.grace)
    same(_expire(scene), ["r3"], "the next sweep's answer")
    scene.tick(scene.store.grace)
    same(scene.due(), ["r4.start"], "what is due then")
    same(scene.claimed("r4.start", "k").base is not None, True, "it goes on from the thread's head")


@LEDGER
def deadline_spares_the_settled(scene: Scene) -> None:
    """A run that settled before its deadline stays as it is, whatever way it ended."""
    at = scene.now + 10
    scene.begin("a", run="succeeded", thread="t1", deadline=at)
    scene.claimed("a", "k")
    scene.finished("a", "k", settle=scene.settle("c1", "succeeded.c0"))
    scene.begin("b", run="failed", thread="t2", deadline=at)
    scene.claimed("b", "kb")
    scene.finished("b", "kb", "failed")
    scene.begin("c", run="cancelled", thread="t3", deadline=at)
    scene.store.cancel(scene.ids("cancelled"))
    before = scene.snapshot(["t1", "t2", "t3"])
    scene.tick(1000)
    same(_expire(scene), [], "the sweep's answer")
    same(scene.snapshot(["t1", "t2", "t3"]), before, "the store after it")


@LEDGER
def deadline_then_replay(scene: Scene) -> None:
    """A replay takes up every task that the deadline failed, finished siblings are kept, and the deadline is lifted."""
    scene.begin("a", "b", "c", deadline=scene.now + 10)
    for task in "abc":
        scene.claimed(task, f"k{task}", slot=task)
    scene.finished("a", "ka", slot="a")
    scene.finished("b", "kb", "interrupted", slot="b")
    scene.store.note(scene.id("c"), scene.id("kc"), '{"rows": 7}')
    scene.tick(10)
    _expire(scene)
    same(
        scene.store.replay(scene.id("r"), [(scene.id("c"), scene.id("c2"))]).reason, "stale", "of one of them"
    )
    pairs = [(scene.id(name), scene.id(f"{name}2")) for name in "bc"]
    same(scene.store.replay(scene.id("r"), pairs).result, "committed", "of both")
    run = scene.run()
    same((run.status, run.deadline, run.error, run.ended_at), ("queued", None, None, None), "the run")
    same(document(scene.task("c2").progress), {"rows": 7}, "the progress of the one that had noted some")
    same(_expire(scene), [], "the next sweep's answer")
    scene.worker()
    for task in "bc":
        scene.claimed(f"{task}2", f"k{task}2", slot=task)
    scene.finished("b2", "kb2", slot="b")
    answer = scene.finished("c2", "kc2", slot="c")
    same([o.node for o in answer.advance.outputs] if answer.advance else [], ["a", "b", "c"], "the outputs")
    scene.finished("c2.adv", "kc2.adv", slot="c", settle=scene.settle("c1", "r.c0"))
    same(scene.run().status, "succeeded", "the run at the end")


@LEDGER
def deadline_of_an_advance(scene: Scene) -> None:
    """An advance that the deadline cut off is replayed like any other task; its holder's settle is fenced."""
    scene.begin("a", "b", deadline=scene.now + 10)
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
        scene.finished(task, f"k{task}", slot=task)
    scene.tick(10)
    same(_expire(scene), ["r"], "the sweep's answer")
    same(
        scene.finish("b.adv", "kb.adv", slot="b", settle=scene.settle("c1", "r.c0")).reason,
        "fenced",
        "the settle",
    )
    same(scene.head(), "r.c0", "the head")
    same(
        scene.store.replay(scene.id("r"), [(scene.id("b.adv"), scene.id("adv2"))]).result,
        "committed",
        "a replay",
    )
    scene.worker()
    same(
        [output.node for output in scene.claimed("adv2", "k2").outputs],
        ["a", "b"],
        "the new advance's outputs",
    )


@LEDGER
def deadline_before_the_start(scene: Scene) -> None:
    """A run that expired before it started can be replayed from its start."""
    scene.submit(deadline=scene.now + 10, run_at=scene.now + 1000)
    scene.tick(10)
    same(_expire(scene), ["r"], "the sweep's answer")
    answer = scene.store.replay(scene.id("r"), [(scene.id("r.start"), scene.id("start2"))])
    same((answer.result, scene.names(answer.publish)), ("committed", ["start2"]), "the replay")
    scene.worker()
    scene.claimed("start2", "k")
    scene.finished("start2", "k", settle=scene.settle("c0", None))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def deadline_and_timer_at_once(scene: Scene) -> None:
    """A timer that falls due in the sweep that ends its run starts nothing."""
    scene.begin("a", deadline=scene.now + 10)
    scene.claimed("a", "k")
    scene.finished("a", "k", "parked", delay=10.0)
    scene.tick(10)
    same(_expire(scene), ["r"], "the sweep's answer")
    same((scene.task("a").status, scene.task("a").run_at), ("failed", None), "the task")
    holds(scene.due() == [] and scene.ready() == 0, "nothing of it is due")
