"""``Client("http://…")`` gives what the client on the store gives."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from petiole import (
    Client,
    IdempotencyError,
    InputError,
    NotFoundError,
    RunCancelledError,
    RunFailedError,
    RunInterruptedError,
    ThreadBusyError,
)
from petiole.documents import iso
from petiole_stores.errors import ConflictError
from petiole_stores.records import Run, Task
from tests.integration.remote.conftest import Pair
from tests.unit.api.asking import MOMENT, Price, asking

#: What a run's or task's document leaves out: only workers need it.
RUN_INNER = {"input", "config", "fingerprint", "request_digest", "seq"}
TASK_INNER = {
    "arg", "timeout", "token", "done_token", "started", "output", "next_publish", "publishes", "published_at", "dropped", "woken", "progress",
}  # fmt: skip


def told(record: Run | Task, left_out: set[str]) -> dict[str, Any]:
    """A record without its inner fields; times to the millisecond, JSON text as what it says."""
    found = msgspec.to_builtins(record)
    for name, value in found.items():
        if name.endswith("_at") or name == "deadline":
            found[name] = iso(value)
        elif name in ("error", "reason", "metadata"):
            found[name] = value and msgspec.json.decode(value)
    for attempt in found.get("attempts", ()):
        attempt["error"] = attempt["error"] and msgspec.json.decode(attempt["error"])
        for name in ("claimed_at", "ended_at"):
            attempt[name] = iso(attempt[name])
    return {name: value for name, value in found.items() if name not in left_out}


def test_runs_tasks_states_and_histories_are_the_same(pair: Pair) -> None:
    handle = pair.remote.submit("counting", {"n": 1}, thread_id="look", tags=["a", "b"], metadata={"k": [1]})
    pair.work()
    assert handle.result(timeout=5) == pair.direct.handle("look").result()
    assert told(handle.run, RUN_INNER) == told(pair.direct.get_run("look"), RUN_INNER)
    assert handle.run.metadata
    ours, theirs = pair.remote.tasks("look"), pair.direct.tasks("look")
    assert [told(one, TASK_INNER) for one in ours] == [told(one, TASK_INNER) for one in theirs]
    page = pair.remote.tasks_page("look", limit=2, node="double")
    assert [one.node for one in page.tasks] == ["double"]
    counted = [
        [
            (one.ns, one.node, one.kind, one.status, one.count, iso(one.ended_at))
            for one in client.task_counts("look")
        ]
        for client in (pair.remote, pair.direct)
    ]
    assert counted[0] == counted[1]
    assert pair.remote.state("look") == pair.direct.state("look")
    here, there = pair.remote.history("look"), pair.direct.history("look")
    assert [entry.checkpoint and entry.checkpoint.id for entry in here] == [
        entry.checkpoint and entry.checkpoint.id for entry in there
    ]
    assert [entry.checkpoint.state for entry in here if entry.checkpoint] == [
        entry.checkpoint.state for entry in there if entry.checkpoint
    ]
    assert pair.remote.history("look", limit=2) == here[:2]
    first, last = here[-2].checkpoint, here[0].checkpoint
    assert first
    assert last
    assert pair.remote.diff(first.id, last.id) == pair.direct.diff(first.id, last.id)
    assert pair.remote.explain("look").summary == pair.direct.explain("look").summary


def test_lists_are_narrowed_counted_and_paged_alike(pair: Pair) -> None:
    for number in range(3):
        pair.remote.submit("counting", {"n": number}, thread_id=f"list:{number}", tags=["listed"])
    pair.work()
    queries: list[dict[str, Any]] = [
        {"tag": "listed"},
        {"tag": "listed", "status": "succeeded"},
        {"tag": "listed", "status": ["failed", "queued"]},
        {"text": "LIST:1"},
        {"graph": "counting", "tag": "listed", "since": datetime.now(UTC) - timedelta(hours=1)},
        {"tag": "listed", "until": 1.0},
    ]
    for query in queries:
        assert [run.run_id for run in pair.remote.list_runs(**query)] == [
            run.run_id for run in pair.direct.list_runs(**query)
        ]
        assert pair.remote.count_runs(**query) == pair.direct.count_runs(**query)
    page = pair.remote.runs_page(tag="listed", limit=2)
    rest = pair.remote.runs_page(tag="listed", limit=2, cursor=page.next)
    assert [run.thread_id for run in [*page.runs, *rest.runs]] == ["list:2", "list:1", "list:0"]
    assert rest.next is None
    assert [worker.name for worker in pair.remote.workers()] == [w.name for w in pair.direct.workers()]
    pair.remote.submit("counting", {"n": 1}, thread_id="list:waits")
    assert [(b.queue, b.ready) for b in pair.remote.backlogs()] == [
        (b.queue, b.ready) for b in pair.direct.backlogs()
    ]


def test_values_come_back_as_what_they_were(pair: Pair) -> None:
    handle = pair.remote.submit(asking(), {"n": 2}, thread_id="typed")
    pair.work()
    state = pair.remote.state("typed")
    assert state["price"] == Price(200)
    assert state["due"] == MOMENT
    assert state["seen"] == {"a"}
    [question] = pair.remote.interrupts("typed")
    assert question.value == {"ok": 200, "by": MOMENT}
    assert question.id == pair.direct.interrupts("typed")[0].id
    with pytest.raises(RunInterruptedError) as caught:
        handle.result(timeout=1)
    assert [one.id for one in caught.value.interrupts] == [question.id]  # type: ignore[attr-defined]
    pair.remote.resume("typed", {"at": MOMENT, "who": {"ann"}}, id=question.id)
    pair.work()
    assert handle.result(timeout=5)["answer"] == {"at": MOMENT, "who": {"ann"}}


def test_a_result_that_is_no_longer_kept_says_so(pair: Pair) -> None:
    handle = pair.remote.submit("counting", {"n": 1}, thread_id="trimmed")
    pair.work()
    run = pair.direct.get_run(handle.run_id)
    assert run.checkpoint_id is not None
    pair.direct.store.delete(run.checkpoint_id)
    told = []
    for client in (pair.direct, pair.remote):
        with pytest.raises(NotFoundError, match="no longer kept: retention has removed it") as caught:
            client.handle("trimmed").result(timeout=1)
        told.append(str(caught.value))
    assert told[0] in told[1]


def test_a_submit_is_made_once_under_its_key(pair: Pair) -> None:
    first = pair.remote.submit("counting", {"n": 1}, idempotency_key="k1")
    again = pair.remote.submit("counting", {"n": 1}, idempotency_key="k1")
    assert (first.run_id, first.thread_id) == (again.run_id, again.thread_id)
    assert pair.direct.submit("counting", {"n": 1}, idempotency_key="k1").run_id == first.run_id
    with pytest.raises(IdempotencyError):
        pair.remote.submit("counting", {"n": 2}, idempotency_key="k1")


def test_times_are_taken_as_moments_and_spans(pair: Pair) -> None:
    soon = datetime.now(UTC) + timedelta(days=2)
    at = pair.remote.submit("counting", {"n": 1}, at=soon, deadline=soon + timedelta(days=1)).run
    assert at.status == "waiting"
    assert at.run_at == pytest.approx(soon.timestamp(), abs=0.01)
    assert at.deadline == pytest.approx(soon.timestamp() + 86400, abs=0.01)
    span = pair.remote.submit("counting", {"n": 1}, at=timedelta(days=1), deadline=60).run
    assert span.deadline == pytest.approx((span.run_at or 0) + 60, abs=0.01)
    number = pair.remote.submit("counting", {"n": 1}, at=soon.timestamp()).run
    assert number.run_at == pytest.approx(soon.timestamp(), abs=0.01)
    with pytest.raises(InputError, match="time zone"):
        pair.remote.submit("counting", {"n": 1}, at=datetime.now())
    for one in (at, span, number):
        assert pair.remote.cancel(one.thread_id, reason="not needed")
        assert not pair.remote.cancel(one.thread_id)
    with pytest.raises(RunCancelledError, match="not needed"):
        pair.remote.handle(at.thread_id).result(timeout=1)


def test_a_failed_run_is_told_replayed_and_its_dead_letters_dropped(pair: Pair) -> None:
    pair.switch.broken = True
    handles = [pair.remote.submit("counting", {"n": 1}, thread_id=f"fail:{n}") for n in range(2)]
    pair.work()
    with pytest.raises(RunFailedError) as caught:
        handles[0].result(timeout=1)
    assert caught.value.failure.type == "ValueError"  # type: ignore[attr-defined]
    assert caught.value.failure.node == "double"  # type: ignore[attr-defined]
    letters = [one for one in pair.remote.dead_letters() if one.run.thread_id.startswith("fail:")]
    assert [one.task.node for one in letters] == ["double", "double"]
    assert letters[0].failure.message == "double is broken"
    assert pair.remote.drop_dead_letters([letters[0].task.task_id, "none"]) == 1
    assert len([one for one in pair.remote.dead_letters() if one.run.thread_id.startswith("fail:")]) == 1
    pair.switch.broken = False
    treated = [*pair.remote.replay_all(pair.remote.list_runs(status="failed", text="fail:"))]
    assert [one.result for one in treated] == ["done", "done"]
    pair.work()
    assert [handle.result(timeout=5)["n"] for handle in handles] == [4, 4]
    with pytest.raises(ConflictError):
        pair.remote.replay("fail:0")
    assert pair.remote.replay("fail:0", from_node="last").run_id != handles[0].run_id


def test_states_are_changed_forked_and_threads_steered(pair: Pair) -> None:
    pair.remote.submit("counting", {"n": 1}, thread_id="steer")
    pair.work()
    config = pair.remote.update_state("steer", {"n": 40}, as_node="double")
    assert pair.remote.state("steer")["n"] == 40
    assert config["configurable"]["checkpoint_id"] == pair.direct.history("steer")[0].checkpoint.id  # type: ignore[union-attr]
    first = pair.remote.history("steer")[-2].checkpoint
    assert first
    fork = pair.remote.fork("steer", first.id)
    assert pair.remote.pause("steer", reason="hold")
    assert not pair.remote.pause("steer")
    with pytest.raises(ThreadBusyError):
        pair.remote.submit("counting", {"n": 1}, thread_id="steer")
    with pytest.raises(ThreadBusyError):
        pair.remote.delete("steer")
    assert pair.remote.unpause("steer")
    pair.work()
    assert fork.result(timeout=5)["n"] == 4
    assert [one.result for one in pair.remote.cancel_all(pair.remote.list_runs(thread_id="steer"))] == [
        "refused", "refused",
    ]  # fmt: skip
    assert pair.remote.signal("steer", "paid", {"at": MOMENT}, id="s1") == "s1"
    with pytest.raises(IdempotencyError):
        pair.remote.signal("steer", "paid", "other", id="s1")
    assert pair.remote.delete("steer")
    assert not pair.remote.delete("steer")
    with pytest.raises(NotFoundError):
        pair.remote.get_run("steer")


@pytest.mark.parametrize("modes", ["updates", ["values", "updates", "tasks"], "checkpoints"])
def test_streams_tell_the_same_from_any_place_on(pair: Pair, modes: Any) -> None:
    handle = pair.remote.submit("counting", {"n": 1}, thread_id=f"stream:{modes}")
    working = pair.working()
    ours = [*handle.stream(modes, timeout=30)]
    working.join()
    theirs = [*pair.direct.stream(handle.thread_id, None, modes)]
    assert [event.id for event in ours] == [event.id for event in theirs]
    assert [(e.mode, e.ns, e.node, e.attempt) for e in ours] == [
        (e.mode, e.ns, e.node, e.attempt) for e in theirs
    ]
    if modes != "checkpoints":
        assert [event.data for event in ours] == [event.data for event in theirs]
    assert [event.id for event in handle.stream(modes, after=ours[1].id)] == [event.id for event in ours[2:]]


def test_a_stream_of_a_failed_run_ends_with_its_error(pair: Pair) -> None:
    pair.switch.broken = True
    handle = pair.remote.submit("counting", {"n": 1}, thread_id="stream-fails")
    pair.work()
    with pytest.raises(RunFailedError, match="double is broken"):
        [*handle.stream()]


def test_async_code_has_the_same(pair: Pair) -> None:
    async def play() -> list[str]:
        client = Client(pair.url, token=pair.token).aio
        handle = await client.submit("counting", {"n": 1}, thread_id="async")
        working = pair.working()
        nodes = [node async for event in handle.stream() for node in event.data]
        await asyncio.to_thread(working.join)
        assert (await handle.result(timeout=5))["n"] == 4
        assert [run.thread_id async for run in client.list_runs(thread_id="async")] == ["async"]
        await client.close()
        return nodes

    assert sorted(asyncio.run(play())) == ["add", "double", "last", "note"]


def test_logs_are_the_same_page_by_page(pair: Pair) -> None:
    handle = pair.remote.submit("chatty", {"n": 7}, thread_id="logs")
    pair.work()
    whole = [*pair.direct.logs("logs")]
    assert [*pair.remote.logs("logs")] == [*pair.remote.logs(handle.run_id, follow=True)] == whole
    assert len(whole) == 4
    for query in ({"level": "ERROR"}, {"node": "ship"}, {"task_id": whole[0].task_id}):
        assert [*pair.remote.logs("logs", **query)] == [*pair.direct.logs("logs", **query)]  # type: ignore[arg-type]
    assert pair.remote.logs_page("logs", limit=3) == pair.direct.logs_page("logs", limit=3)

    async def read() -> list[Any]:
        client = Client(pair.url, token=pair.token).aio
        page = await client.logs_page("logs", limit=1)
        rest = [entry async for entry in client.logs("logs")]
        await client.close()
        return [*page.logs, *rest]

    assert asyncio.run(read()) == [whole[0], *whole]


def test_schedules_are_made_changed_and_triggered(pair: Pair) -> None:
    made = pair.remote.create_schedule(
        "nightly", "counting", {"n": 1}, cron="0 3 * * *", timezone="Europe/Berlin", tags=["x"], max_runs=3
    )
    kept = pair.direct.get_schedule("nightly")
    assert made.timing == kept.timing
    assert made.next_at == pytest.approx(kept.next_at)
    assert pair.remote.update_schedule("nightly", every=60, cron=None).timing.every == 60
    assert pair.remote.pause_schedule("nightly").status == "paused"
    assert pair.remote.unpause_schedule("nightly").status == "active"
    handle = pair.remote.trigger_schedule("nightly", idempotency_key="once")
    assert pair.remote.trigger_schedule("nightly", idempotency_key="once").run_id == handle.run_id
    pair.work()
    assert handle.result(timeout=5)["n"] == 4
    assert [one.name for one in pair.remote.list_schedules()] == ["nightly"]
    assert pair.remote.get_schedule("nightly").max_runs == 3
    assert pair.remote.delete_schedule("nightly")
    assert not pair.remote.delete_schedule("nightly")


def test_a_thread_is_carried_away_and_brought_back(pair: Pair) -> None:
    pair.remote.submit(asking(), {"n": 2}, thread_id="carried")
    pair.work()
    made = pair.remote.import_thread(pair.remote.export_thread("carried"), thread_id="brought")
    assert made.thread_id == "brought"
    assert pair.remote.handle("brought").status() == "paused"
    assert pair.remote.state("brought") == pair.remote.state("carried")
    assert pair.remote.unpause("brought")
