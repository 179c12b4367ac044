"""Checks of ``finish``: fences, the count of open tasks, joins, settles and retries."""

from __future__ import annotations

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.errors import InputError
from petiole_stores.records import Blob, Settle


@LEDGER
def finish_settles_alone(scene: Scene) -> None:
    """A lone task's finish brings the settle: checkpoint, head and next tasks in one transaction."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(1)
    tasks = [scene.new_task("b", arg='{"x": 1}', priority="low"), scene.new_task("c")]
    answer = scene.finished("a", "k", settle=scene.settle("c1", "r.c0", *tasks))
    same(
        (answer.open, answer.run_status, answer.publish, answer.advance),
        (2, "running", [], None),
        "the answer",
    )
    done, made = scene.task("a"), scene.task("b")
    same(
        (done.status, done.done_token, done.ended_at), ("done", scene.id("k"), scene.now), "the finished task"
    )
    same(document(done.output), {"by": "a"}, "its output")
    same((scene.head(), scene.run().checkpoint_id), ("c1", scene.id("c1")), "the head")
    same((made.status, made.checkpoint_id, made.priority), ("ready", scene.id("c1"), "low"), "a next task")
    same(
        (document(made.arg), made.next_publish),
        ({"x": 1}, scene.now + scene.store.grace),
        "its argument and outbox",
    )
    found = scene.store.get_checkpoint(scene.id("c1"))
    holds(found is not None, "the checkpoint is stored")
    if found is not None:
        same(
            (found.parent_id, found.run_id),
            (scene.id("r.c0"), scene.id("r")),
            "the checkpoint's parent and run",
        )
        same((found.created_at, found.node_names), (scene.now, ["c1"]), "the checkpoint's time and nodes")
    scene.tick(scene.store.grace)
    same(sorted(scene.due()), ["b", "c"], "what nobody published is due")


@LEDGER
def finish_twice_is_already(scene: Scene) -> None:
    """A finish under the token that ended the task is already, and changes nothing, whatever it says."""
    scene.begin("a")
    scene.claimed("a", "k")
    settle = scene.settle("c1", "r.c0", scene.new_task("b"))
    scene.finished("a", "k", settle=settle)
    before = scene.snapshot()
    scene.tick(1)
    for answer in (scene.finish("a", "k", settle=settle), scene.finish("a", "k", "failed")):
        same((answer.result, answer.reason, answer.publish), ("already", "", []), "the answer")
        same((answer.open, answer.run_status), (1, "running"), "what it tells")
    same(scene.snapshot(), before, "the store after it")


@LEDGER
def finish_success(scene: Scene) -> None:
    """A settle without tasks ends the run as succeeded."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(2)
    answer = scene.finished("a", "k", settle=scene.settle("c1", "r.c0"))
    same((answer.open, answer.run_status), (0, "succeeded"), "the answer")
    run = scene.run()
    same((run.status, run.ended_at, run.error), ("succeeded", scene.now, None), "the run")
    same(scene.finish("a", "k", settle=scene.settle("c1", "r.c0")).result, "already", "the same again")
    same(scene.submit("r2").result, "committed", "the thread's next run")


@LEDGER
def finish_several_checkpoints(scene: Scene) -> None:
    """A settle may bring several checkpoints: all are kept in order, and the head is the last."""
    scene.begin("a")
    scene.claimed("a", "k")
    made = [scene.new_checkpoint("c1", "r.c0"), scene.new_checkpoint("c2", "c1", step=1)]
    scene.finished("a", "k", settle=Settle(checkpoints=made, tasks=[scene.new_task("b")]))
    found = scene.store.list_checkpoints(scene.id("t"))
    same([scene.name(c) for c in found], ["c2", "c1", "r.c0"], "history")
    same((scene.head(), scene.task("b").checkpoint_id), ("c2", scene.id("c2")), "head and next task")


@LEDGER
def finish_counts_down(scene: Scene) -> None:
    """Every end takes one from ``open``; the last ends with the advance in the finisher's hands."""
    scene.begin("a", "b", "c")
    for task in "abc":
        scene.claimed(task, f"k{task}", slot=task)
    answers = [scene.finished(task, f"k{task}", slot=task) for task in "abc"]
    same([a.open for a in answers], [2, 1, 1], "open after each")
    same([a.advance is not None for a in answers], [False, False, True], "who holds the advance")
    advance = scene.task("c.adv")
    same((advance.status, advance.token, advance.slot), ("claimed", scene.id("kc.adv"), "c"), "the advance")
    same((advance.kind, advance.path, advance.attempt), ("advance", "advance", 1), "its kind")
    same((advance.started, advance.checkpoint_id), (True, scene.id("r.c0")), "its start")
    same(scene.run().status, "running", "the run")
    same(sorted(scene.tasks()), ["a", "b", "c", "c.adv", "r.start"], "the tasks")
    scene.finished("c.adv", "kc.adv", slot="c", settle=scene.settle("c1", "r.c0", scene.new_task("d")))
    same((scene.head(), scene.task("d").status), ("c1", "ready"), "after the advance")


@LEDGER
def finish_gives_the_advance_again(scene: Scene) -> None:
    """The last finish said again gives its advance claim once more while it is held, and not after that."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    scene.finished("a", "ka", slot="a")
    first = scene.finished("b", "kb", slot="b")
    before = scene.snapshot()
    again = scene.finish("b", "kb", slot="b")
    same((again.result, again.advance), ("already", first.advance), "the answer said again")
    same(scene.finish("a", "ka", slot="a").advance, None, "the answer to the other")
    same(scene.snapshot(), before, "the store after it")
    scene.finished("b.adv", "kb.adv", slot="b", settle=scene.settle("c1", "r.c0"))
    same(scene.finish("b", "kb", slot="b").advance, None, "the answer after the advance has ended")


@LEDGER
def finish_alone_without_a_settle(scene: Scene) -> None:
    """A lone task that brings no settle gets an advance like a join's last."""
    scene.begin("a")
    scene.claimed("a", "k")
    answer = scene.finished("a", "k")
    holds(
        answer.advance is not None and answer.advance.width == 1, "it holds the advance of a superstep of one"
    )
    same([o.node for o in answer.advance.outputs] if answer.advance else [], ["a"], "the advance's outputs")


@LEDGER
def finish_missing(scene: Scene) -> None:
    """An unknown task is refused as missing."""
    scene.worker()
    answer = scene.finish("nothing", "k")
    same(
        (answer.task_id, answer.result, answer.reason),
        (scene.id("nothing"), "refused", "missing"),
        "the answer",
    )


@LEDGER
def finish_fenced(scene: Scene) -> None:
    """A finish under another token than the task's own is fenced and changes nothing."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    before = scene.snapshot()
    for task, token in (("a", "other"), ("b", "k"), ("r.start", "other")):
        for ending in ("done", "failed", "retry"):
            answer = scene.finish(task, token, ending)
            same((answer.result, answer.reason), ("refused", "fenced"), f"{ending} of {task} under {token}")
    same(scene.snapshot(), before, "the store after it")


@LEDGER
def finish_refused_keeps_no_blobs(scene: Scene) -> None:
    """A committed finish keeps its blobs, a refused one keeps none."""
    scene.begin("a")
    scene.claimed("a", "k")
    blobs = [Blob(digest=d, codec="raw", data=d.encode(), checksum=d) for d in ("x", "y")]
    scene.finish("a", "other", blobs=blobs[:1])
    same(scene.store.get_blobs(scene.id("t"), ["x", "y"]), {}, "a refused finish's blobs")
    scene.finished("a", "k", blobs=blobs[1:])
    same(scene.store.get_blobs(scene.id("t"), ["x", "y"]), {"y": blobs[1]}, "a committed finish's blobs")
    scene.finish("a", "k", blobs=[Blob(digest="y", codec="raw", data=b"else", checksum="z")])
    same(scene.store.get_blobs(scene.id("t"), ["y"]), {"y": blobs[1]}, "a blob that is there already")


@LEDGER
def finish_in_a_cancelled_run(scene: Scene) -> None:
    """A finish in a settled run is refused with the run's status and drops the output."""
    scene.begin("a", "b")
    scene.claimed("a", "k")
    scene.store.cancel(scene.ids("r"))
    before = scene.snapshot()
    answer = scene.finish("a", "k")
    same((answer.result, answer.reason), ("refused", "run cancelled"), "the answer")
    same((answer.open, answer.run_status), (0, "cancelled"), "what it tells")
    same(scene.snapshot(), before, "the store after it")
    same(scene.finish("a", "other").reason, "fenced", "another's token comes first")


@LEDGER
def finish_not_alone(scene: Scene) -> None:
    """A settle by a node that has siblings is refused, also when it is the last of them."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    settle = scene.settle("c1", "r.c0")
    same(scene.finish("a", "ka", slot="a", settle=settle).reason, "not alone", "the first of two")
    scene.finished("a", "ka", slot="a")
    before = scene.snapshot()
    same(scene.finish("b", "kb", slot="b", settle=settle).reason, "not alone", "the last of two")
    same(scene.snapshot(), before, "the store after it")


@LEDGER
def finish_head_moved(scene: Scene) -> None:
    """A settle whose first checkpoint does not extend the head is refused and changes nothing."""
    scene.begin("a")
    scene.claimed("a", "k")
    before = scene.snapshot()
    for parent in (None, "elsewhere"):
        answer = scene.finish("a", "k", settle=scene.settle("c1", parent))
        same((answer.result, answer.reason), ("refused", "head moved"), f"a settle after {parent}")
    same(scene.snapshot(), before, "the store after it")
    scene.finished("a", "k", settle=scene.settle("c1", "r.c0"))


@LEDGER
def finish_failed_sibling_fails_the_run(scene: Scene) -> None:
    """A failed task waits for its siblings; then the run fails with the first error in path order."""
    scene.begin("a", "b", "c")
    for task in "abc":
        scene.claimed(task, f"k{task}", slot=task)
    same(
        scene.finished("c", "kc", "failed", slot="c").run_status, "running", "the run after the first failure"
    )
    same(scene.finished("b", "kb", "failed", slot="b").open, 1, "open after two")
    scene.tick(1)
    answer = scene.finished("a", "ka", slot="a")
    same((answer.open, answer.run_status, answer.advance), (0, "failed", None), "the last answer")
    run = scene.run()
    same((run.status, run.ended_at), ("failed", scene.now), "the run")
    same(document(run.error), {"type": "ValueError", "message": "b"}, "the run's error")
    same(document(scene.task("a").output), {"by": "a"}, "the finished sibling's output")
    same(scene.head(), "r.c0", "the head")


@LEDGER
def finish_failed_start(scene: Scene) -> None:
    """A start that fails, fails the run."""
    scene.worker()
    scene.submit()
    scene.claimed("r.start", "k")
    same(scene.finished("r.start", "k", "failed").run_status, "failed", "the run")
    same(scene.submit("r2").result, "committed", "the thread's next run")


@LEDGER
def finish_interrupted(scene: Scene) -> None:
    """An interrupted task interrupts the run when the superstep is over; the thread stays busy."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    same(
        scene.finished("a", "ka", "interrupted", slot="a", output='{"ask": 1}').run_status,
        "running",
        "the first",
    )
    answer = scene.finished("b", "kb", slot="b")
    same((answer.open, answer.run_status, answer.advance), (0, "interrupted", None), "the last answer")
    same((scene.run().ended_at, scene.task("a").status), (None, "interrupted"), "the run and the task")
    same(document(scene.task("a").output), {"ask": 1}, "what was asked")
    same(scene.submit("r2").reason, "busy", "a second run")
    same(scene.claim("a", "k").reason, "run interrupted", "a claim of it")
    same(scene.finish("a", "ka", "interrupted", slot="a").result, "already", "the same again")


@LEDGER
def finish_failure_outweighs_an_interrupt(scene: Scene) -> None:
    """Of a superstep with a failed and an interrupted task the run fails."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    scene.finished("a", "ka", "interrupted", slot="a")
    same(scene.finished("b", "kb", "failed", slot="b").run_status, "failed", "the run")


@LEDGER
def finish_cancelled_task(scene: Scene) -> None:
    """A superstep in which a task ended as cancelled ends its run as cancelled."""
    scene.begin("a", "b")
    for task in "ab":
        scene.claimed(task, f"k{task}", slot=task)
    scene.finished("a", "ka", "cancelled", slot="a")
    same(scene.finished("b", "kb", slot="b").run_status, "cancelled", "the run")
    same(scene.submit("r2").result, "committed", "the thread's next run")


@LEDGER
def finish_settle_to_interrupted(scene: Scene) -> None:
    """A settle may leave tasks that wait for a resume: the run is interrupted and nothing is ready."""
    scene.begin("a")
    scene.claimed("a", "k")
    waiting = scene.new_task("b", status="interrupted")
    answer = scene.finished("a", "k", settle=scene.settle("c1", "r.c0", waiting, status="interrupted"))
    same((answer.open, answer.run_status), (0, "interrupted"), "the answer")
    task = scene.task("b")
    same((task.status, task.next_publish, task.ended_at), ("interrupted", None, None), "the waiting task")
    same(scene.head(), "c1", "the head")


@LEDGER
def finish_done_with_error(scene: Scene) -> None:
    """A done task keeps the error that came with it: what it failed of before it succeeded. Its run has none."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", error='{"type": "E"}', settle=scene.settle("c1", "r.c0"))
    task, run = scene.task("a"), scene.run()
    same((task.status, document(task.error)), ("done", {"type": "E"}), "the task")
    same((run.status, run.error), ("succeeded", None), "the run")


@LEDGER
def finish_retry_at_once(scene: Scene) -> None:
    """A retry without delay ends the attempt alone: the task is ready, its failure counted, its token void."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.tick(1)
    answer = scene.finished("a", "k", "retry", error='{"type": "E"}')
    same((answer.open, answer.run_status), (1, "running"), "the answer")
    task = scene.task("a")
    same((task.status, task.token, task.holder, task.failures), ("ready", None, None, 1), "the task")
    same(
        (task.next_publish, document(task.error)),
        (scene.now + scene.store.grace, {"type": "E"}),
        "outbox, error",
    )
    attempt = task.attempts[0]
    same((attempt.attempt, attempt.outcome, attempt.ended_at), (1, "retry", scene.now), "the attempt")
    before = scene.snapshot()
    same(scene.finish("a", "k", "retry", error='{"type": "E"}').result, "already", "the same again")
    same(scene.snapshot(), before, "the store after it")
    claim = scene.claimed("a", "k2")
    same((claim.task.attempt, len(claim.task.attempts)), (2, 1), "the next attempt")
    same(scene.finish("a", "k").result, "already", "the old token once more")
    scene.finished("a", "k2", settle=scene.settle("c1", "r.c0"))
    same(scene.finish("a", "k").reason, "fenced", "the old token after the end")


@LEDGER
def finish_retry_later(scene: Scene) -> None:
    """A retry with delay parks the task until then; a sweep wakes it, due at once."""
    scene.begin("a")
    scene.claimed("a", "k")
    scene.finished("a", "k", "retry", delay=10.0)
    task = scene.task("a")
    same((task.status, task.run_at, task.next_publish), ("parked", scene.now + 10, None), "the task")
    same(scene.claim("a", "k2").reason, "parked", "a claim before its time")
    scene.tick(9.75)
    scene.store.sweep()
    same(scene.task("a").status, "parked", "the task before its time")
    scene.tick(0.25)
    scene.store.sweep()
    task = scene.task("a")
    same((task.status, task.run_at, task.next_publish), ("ready", None, scene.now), "the task at its time")
    same((task.publishes, task.recovered), (0, False), "its count of publishing")


@LEDGER
def finish_takes_a_next_task(scene: Scene) -> None:
    """A settle's task with a token is inserted as claimed by the finisher's slot, and counted as open."""
    scene.begin("a")
    scene.claimed("a", "k")
    answer = scene.finished(
        "a", "k", settle=scene.settle("c1", "r.c0", scene.new_task("b", token=scene.id("kb")))
    )
    same((answer.open, answer.publish), (1, []), "the answer")
    task = scene.task("b")
    same(
        (task.status, task.token, task.holder, task.slot),
        ("claimed", scene.id("kb"), scene.id("w"), "s"),
        "the task",
    )
    same((task.attempt, task.started, task.next_publish), (1, True, None), "its attempt")
    again = scene.claim("b", "kb")
    same((again.result, again.claim and again.claim.task), ("already", task), "a claim under its token")
    scene.finished("b", "kb", settle=scene.settle("c2", "c1"))
    same(scene.run().status, "succeeded", "the run")


@LEDGER
def finish_many(scene: Scene) -> None:
    """A batch is judged in order, each outcome on its own: a refused one spoils no other."""
    scene.begin("a", "b", "c")
    scene.begin("x", run="r2", thread="t2")
    for task, run in (("a", "r"), ("b", "r"), ("c", "r"), ("x", "r2")):
        scene.claimed(task, f"k{task}", slot=run + task)
    outcomes = [
        scene.outcome("a", "ka"),
        scene.outcome("missing", "k"),
        scene.outcome("b", "wrong"),
        scene.outcome("c", "kc"),
        scene.outcome("x", "kx", settle=scene.settle("x1", "wrong")),
        scene.outcome("a", "ka"),
        scene.outcome("b", "kb"),
        scene.outcome("x", "kx", settle=scene.settle("x1", "r2.c0")),
    ]
    answers = scene.store.finish(scene.id("w"), "s", outcomes)
    found = [(a.result, a.reason) for a in answers]
    refused = {1: "missing", 2: "fenced", 4: "head moved"}
    wanted = [("refused", refused[i]) if i in refused else ("committed", "") for i in range(8)]
    wanted[5] = ("already", "")
    same(found, wanted, "the answers")
    same([answers[i].open for i in (0, 3, 5, 6)], [2, 1, 1, 1], "open after each of r's")
    holds(answers[6].advance is not None, "the last of r's holds the advance")
    same((scene.run().status, scene.run("r2").status), ("running", "succeeded"), "the runs")


@LEDGER
def finish_both_of_a_join_at_once(scene: Scene) -> None:
    """All siblings in one batch: only the last one's answer has the advance."""
    scene.begin("a", "b", "c")
    for task in "abc":
        scene.claimed(task, f"k{task}", slot=task)
    outcomes = [scene.outcome(task, f"k{task}") for task in "cab"]
    answers = scene.store.finish(scene.id("w"), "s", outcomes)
    same([(a.result, a.open, a.advance is not None) for a in answers],
         [("committed", 2, False), ("committed", 1, False), ("committed", 1, True)], "the answers")  # fmt: skip
    again = scene.store.finish(scene.id("w"), "s", outcomes)
    same([(a.result, a.open, a.advance is not None) for a in again],
         [("already", 1, False), ("already", 1, False), ("already", 1, True)], "the answers said again")  # fmt: skip


@LEDGER
def finish_checks_its_arguments(scene: Scene) -> None:
    """An outcome that no ledger could judge is an InputError."""
    scene.begin("a")
    scene.claimed("a", "k")
    settle = scene.settle("c1", "r.c0")
    bad = [
        scene.outcome("a", "k", "failed", settle=settle),
        scene.outcome("a", "k", advance_id="", advance_token=""),
        scene.outcome("a", "k", settle=Settle(checkpoints=[])),
        scene.outcome("a", "k", settle=scene.settle("c1", "r.c0", status="running")),
        scene.outcome("a", "k", settle=scene.settle("c1", "r.c0", scene.new_task("b"), status="succeeded")),
    ]
    for outcome in bad:
        try:
            scene.store.finish(scene.id("w"), "s", [outcome])
        except InputError:
            continue
        raise AssertionError(f"it took {outcome!r}")
    same(scene.task("a").status, "claimed", "the task")


@LEDGER
def holds_while_a_finish_would_be_taken(scene: Scene) -> None:
    """A token holds from its claim, through its holder's death, to the next claim, the end or a settled run."""
    store, a = scene.store, scene.id("a")
    scene.begin("a", "b")
    same(
        (store.holds(a, scene.id("k")), store.holds(scene.id("none"), "k")),
        (False, False),
        "unclaimed, missing",
    )
    scene.claimed("a", "k")
    same((store.holds(a, scene.id("k")), store.holds(a, scene.id("other"))), (True, False), "claimed")
    scene.tick(16)
    store.sweep()
    same(store.holds(a, scene.id("k")), True, "after the holder's death")
    scene.worker("w2")
    scene.claimed("a", "k2", holder="w2")
    same(
        (store.holds(a, scene.id("k")), store.holds(a, scene.id("k2"))), (False, True), "after the next claim"
    )
    scene.finished("a", "k2", holder="w2")
    same(store.holds(a, scene.id("k2")), False, "after the end")
    scene.claimed("b", "kb", holder="w2")
    store.cancel(scene.ids("r"))
    same(store.holds(scene.id("b"), scene.id("kb")), False, "in a cancelled run")
