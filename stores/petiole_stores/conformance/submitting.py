"""Checks of ``submit``: acceptance, idempotency, one active run a thread, queues and delayed starts."""

from __future__ import annotations

from petiole_stores.conformance.report import holds, same
from petiole_stores.conformance.rules import LEDGER
from petiole_stores.conformance.scene import Scene, document
from petiole_stores.records import Blob


@LEDGER
def submit_accepts(scene: Scene) -> None:
    """A submitted run is queued, its start task is ready and is given for publishing."""
    answer = scene.submit(
        tags=["a", "b"], metadata='{"m": 1}', version="1", fingerprint="f", config='{"c": 2}'
    )
    same((answer.result, answer.reason, answer.active_run), ("committed", "", None), "the answer")
    same(scene.names(answer.publish), ["r.start"], "what to publish")
    ref = answer.publish[0]
    same(
        (ref.queue, ref.priority, ref.graph, ref.node, ref.version),
        (scene.queue, "default", "g", "start", "1"),
        "ref",
    )
    run, task = scene.run(), scene.task("r.start")
    same((run.status, run.tags, run.version, run.fingerprint), ("queued", ["a", "b"], "1", "f"), "the run")
    same(
        (run.created_at, run.started_at, run.ended_at, run.replays),
        (scene.now, None, None, 0),
        "the run's times",
    )
    same(
        (task.status, task.kind, task.path, task.attempt), ("ready", "advance", "start", 0), "the start task"
    )
    same(
        (task.checkpoint_id, task.next_publish),
        (None, scene.now + scene.store.grace),
        "the start task's outbox",
    )
    same(scene.head(), None, "the head of a new thread")


@LEDGER
def submit_twice_is_already(scene: Scene) -> None:
    """A run whose id exists is already there; it is not accepted twice, and its ready tasks are given again."""
    scene.submit()
    before = scene.snapshot()
    scene.tick(1)
    answer = scene.submit()
    same(answer.result, "already", "the second answer")
    same(scene.names(answer.publish), ["r.start"], "what to publish")
    same(scene.snapshot(), before, "the store after the second submit")


@LEDGER
def submit_conflict(scene: Scene) -> None:
    """A known run id with another request digest is refused as a conflict and changes nothing."""
    scene.submit()
    before = scene.snapshot()
    answer = scene.submit(request_digest="other")
    same((answer.result, answer.reason, answer.publish), ("refused", "conflict", []), "the answer")
    same(scene.snapshot(), before, "the store after it")


@LEDGER
def submit_busy(scene: Scene) -> None:
    """A thread with an active run refuses another, naming the active one."""
    scene.submit()
    before = scene.snapshot()
    answer = scene.submit("r2")
    same((answer.result, answer.reason, answer.active_run), ("refused", "busy", scene.id("r")), "the answer")
    same(scene.snapshot(), before, "the store after it")
    same(scene.store.get_run(scene.id("r2")), None, "the refused run")


@LEDGER
def submit_enqueue(scene: Scene) -> None:
    """With ``enqueue`` a busy thread takes the run: queued, with nothing to publish or to claim yet."""
    scene.worker()
    scene.submit()
    answer = scene.submit("r2", if_busy="enqueue")
    same((answer.result, answer.publish), ("committed", []), "the answer")
    same(
        (scene.run("r2").status, scene.task("r2.start", "r2").status), ("queued", "parked"), "the queued run"
    )
    same(scene.claim("r2.start", "k").reason, "parked", "a claim of it")
    scene.tick(10_000)
    same(scene.due(), ["r.start"], "what is due, however late")
    same(scene.submit("r2", if_busy="enqueue").result, "already", "the same again")


@LEDGER
def submit_starts_the_next_in_order(scene: Scene) -> None:
    """When the active run settles, the thread's oldest queued run starts in the same transaction."""
    scene.worker()
    scene.submit()
    for run in ("r2", "r3"):
        scene.submit(run, if_busy="enqueue")
    scene.claimed("r.start", "k")
    answer = scene.finished("r.start", "k", settle=scene.settle("c", None))
    same(scene.names(answer.publish), ["r2.start"], "what the finish gives to publish")
    same(
        (scene.task("r2.start", "r2").status, scene.task("r3.start", "r3").status),
        ("ready", "parked"),
        "the starts",
    )
    same(scene.task("r2.start", "r2").checkpoint_id, scene.id("c"), "what the next run goes on from")
    same(
        scene.names(scene.store.cancel(scene.ids("r2"))[0].publish),
        ["r3.start"],
        "what the cancel gives to publish",
    )
    same(scene.task("r3.start", "r3").status, "ready", "the third")


@LEDGER
def submit_at(scene: Scene) -> None:
    """A run with a future ``run_at`` waits as its thread's active run; a sweep wakes it, due at once."""
    scene.worker()
    answer = scene.submit(run_at=scene.now + 100)
    same((answer.result, answer.publish), ("committed", []), "the answer")
    same((scene.run().status, scene.task("r.start").status), ("waiting", "parked"), "the run and its start")
    same(scene.submit("r2").reason, "busy", "a second run")
    same(scene.claim("r.start", "k").reason, "run waiting", "a claim before its time")
    scene.tick(99)
    scene.store.sweep()
    same((scene.run().status, scene.due()), ("waiting", []), "a sweep before its time")
    scene.tick(1)
    holds(scene.store.sweep().woken >= 1, "a sweep at its time counts it as woken")
    same((scene.run().status, scene.task("r.start").status), ("queued", "ready"), "the run at its time")
    same(scene.due(), ["r.start"], "what is due")
    scene.worker("w2")
    scene.claimed("r.start", "k", holder="w2")


@LEDGER
def submit_at_past(scene: Scene) -> None:
    """A ``run_at`` that has passed starts at once."""
    answer = scene.submit(run_at=scene.now - 1)
    same((scene.run().status, scene.names(answer.publish)), ("queued", ["r.start"]), "the run")


@LEDGER
def submit_base(scene: Scene) -> None:
    """A run with a ``base_id`` moves the head there and starts from it."""
    scene.save("a")
    scene.save("b", parent="a")
    same(scene.head(), "b", "the head after two saves")
    scene.submit(base_id=scene.id("a"))
    same((scene.head(), scene.task("r.start").checkpoint_id), ("a", scene.id("a")), "head and start")
    scene.worker()
    claim = scene.claimed("r.start", "k")
    same(claim.base and scene.name(claim.base), "a", "the claim's base")


@LEDGER
def submit_no_base(scene: Scene) -> None:
    """A base that is no checkpoint of the thread is refused, before it is asked whether the thread is busy."""
    scene.save("a", thread="other")
    for base in ("a", "missing"):
        answer = scene.submit(base_id=scene.id(base))
        same((answer.result, answer.reason), ("refused", "no base"), f"a submit on {base}")
    same(scene.store.get_run(scene.id("r")), None, "the run")
    scene.submit("r2")
    same(scene.submit(base_id=scene.id("a")).reason, "no base", "a submit on it with the thread busy")


@LEDGER
def submit_goes_on_from_the_head(scene: Scene) -> None:
    """Without a base a run starts from the thread's head."""
    scene.save("a")
    scene.submit()
    same(scene.task("r.start").checkpoint_id, scene.id("a"), "where it starts")


@LEDGER
def submit_many(scene: Scene) -> None:
    """A batch is answered in order, each run on its own; the later of two on one thread is busy."""
    scene.submit("r0", "t0")
    runs = [
        scene.new_run("r0", "t0"),
        scene.new_run("r1", "t1"),
        scene.new_run("r2", "t1"),
        scene.new_run("r3", "t2"),
    ]
    answers = scene.store.submit(runs)
    same([a.run_id for a in answers], scene.ids("r0", "r1", "r2", "r3"), "the order")
    same([a.result for a in answers], ["already", "committed", "refused", "committed"], "the answers")
    same(answers[2].active_run, scene.id("r1"), "the run that is in the way")
    answers = scene.store.submit(
        [scene.new_run("r4", "t3"), scene.new_run("r5", "t3", if_busy="enqueue"), scene.new_run("r4", "t3")]
    )
    same([a.result for a in answers], ["committed", "committed", "already"], "one batch with one run twice")
    same(scene.store.submit([]), [], "an empty batch")


@LEDGER
def submit_blobs(scene: Scene) -> None:
    """A submit's blobs are kept for its thread alone; a refused submit keeps none."""
    blob = Blob(digest="d1", codec="raw", data=b"\x00\xff bytes", checksum="s1")
    scene.submit(blobs=[blob])
    same(scene.store.get_blobs(scene.id("t"), ["d1", "d2"]), {"d1": blob}, "the thread's blobs")
    same(scene.store.get_blobs(scene.id("t2"), ["d1"]), {}, "another thread's")
    scene.submit("r2", blobs=[Blob(digest="d2", codec="raw", data=b"", checksum="s2")])
    same(scene.store.get_blobs(scene.id("t"), ["d2"]), {}, "a refused submit's")


@LEDGER
def submit_documents(scene: Scene) -> None:
    """Documents and ids come back as they were given, whatever characters they hold."""
    text = '{"ü": "\\u2028 \\"quoted\\" \\\\ {}", "n": [1, 2.5, null, true], "big": 9007199254740993}'
    scene.submit("r'\"%s:\\ü", "t {0}\"';--", input=text, metadata=text, tags=["ä, b", "}{"])
    run = scene.run("r'\"%s:\\ü")
    same((document(run.input), document(run.metadata)), (document(text), document(text)), "the documents")
    same((run.thread_id, run.tags), (scene.id("t {0}\"';--"), ["ä, b", "}{"]), "the thread's id and the tags")
