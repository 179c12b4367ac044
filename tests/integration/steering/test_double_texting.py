"""A second input while the thread's first one is still being worked on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from petiole import (
    ConflictError,
    IdempotencyError,
    InputError,
    RunCancelledError,
    StoreUnavailableError,
)
from petiole.testing import FaultPlan, FaultyStore, LocalWorker, fail_before
from petiole_stores.memory import MemoryStore
from tests.chat import chat, said
from tests.integration.steering.conftest import Serve


def submit(worker: LocalWorker, text: str, if_busy: Any = "reject", **options: Any) -> Any:
    return worker.client.submit("chat", {"log": [text]}, thread_id="t", if_busy=if_busy, **options)


def test_an_interrupt_goes_on_from_what_the_active_run_has_come_to(serve: Serve) -> None:
    worker = serve(chat())
    first = submit(worker, "a")
    worker.step()
    second = submit(worker, "b", "interrupt")
    worker.run_until_idle()
    assert second.result(0)["log"] == ["a", "hear a", *said("b")]
    with pytest.raises(RunCancelledError, match=f"run {second.run_id} took its place"):
        first.result(0)


def test_what_is_queued_is_interrupted_too(serve: Serve) -> None:
    worker = serve(chat())
    submit(worker, "a")
    queued = submit(worker, "b", "enqueue")
    third = submit(worker, "c", "interrupt")
    worker.run_until_idle()
    assert queued.status() == "cancelled"
    assert third.result(0)["log"] == said("c")


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_rollback_of_a_thread_s_first_run_starts_a_new_thread(serve: Serve, steps: int) -> None:
    worker = serve(chat())
    first = submit(worker, "a")
    for _ in range(steps):
        worker.step()
    second = submit(worker, "b", "rollback")
    worker.run_until_idle()
    assert second.result(0)["log"] == said("b")
    assert first.status() == "cancelled"
    made = [it for it in worker.client.list_checkpoints("t") if it.run_id == second.run_id]
    assert made[-1].step == -1


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_rollback_goes_back_to_where_the_thread_stood(serve: Serve, steps: int) -> None:
    worker = serve(chat())
    submit(worker, "a")
    worker.run_until_idle()
    submit(worker, "b")
    for _ in range(steps):
        worker.step()
    third = submit(worker, "c", "rollback")
    worker.run_until_idle()
    assert third.result(0)["log"] == [*said("a"), *said("c")]


def test_a_rollback_of_a_fork_goes_back_to_before_it(serve: Serve) -> None:
    worker = serve(chat())
    submit(worker, "a")
    worker.run_until_idle()
    point = next(it for it in worker.client.list_checkpoints("t") if it.next == ("think",))
    worker.client.fork("t", point.id)
    worker.step()
    third = submit(worker, "c", "rollback")
    worker.run_until_idle()
    assert third.result(0)["log"] == [*said("a"), *said("c")]


def test_a_rollback_without_the_state_before_is_refused(serve: Serve) -> None:
    worker = serve(chat())
    submit(worker, "a")
    worker.run_until_idle()
    first = submit(worker, "b")
    worker.step()
    worker.step()
    worker.store.trim("t", 1)
    with pytest.raises(ConflictError, match=r"no longer kept \(max_checkpoints\)"):
        submit(worker, "c", "rollback")
    worker.run_until_idle()
    assert first.status() == "succeeded"


@pytest.mark.parametrize("if_busy", ["interrupt", "rollback"])
def test_on_an_idle_thread_it_is_a_plain_submit(serve: Serve, if_busy: str) -> None:
    worker = serve(chat())
    submit(worker, "a", if_busy)
    worker.run_until_idle()
    submit(worker, "b", if_busy)
    worker.run_until_idle()
    assert worker.client.state("t")["log"] == [*said("a"), *said("b")]


@pytest.mark.parametrize("if_busy", ["interrupt", "rollback"])
def test_the_same_submit_again_is_the_same_run_and_interrupts_nothing_later(
    serve: Serve, if_busy: str
) -> None:
    worker = serve(chat())
    submit(worker, "a")
    worker.step()
    once = submit(worker, "b", if_busy, idempotency_key="b")
    assert submit(worker, "b", if_busy, idempotency_key="b").run_id == once.run_id
    with pytest.raises(IdempotencyError):
        submit(worker, "other", if_busy, idempotency_key="b")
    worker.run_until_idle()
    later = submit(worker, "c")
    assert submit(worker, "b", if_busy, idempotency_key="b").run_id == once.run_id
    worker.run_until_idle()
    assert later.result(0)["log"][-4:] == said("c")
    assert [run.status for run in worker.client.list_runs(thread_id="t")] == [
        "succeeded",
        "succeeded",
        "cancelled",
    ]


@pytest.mark.parametrize("if_busy", ["interrupt", "rollback"])
def test_a_client_that_dies_half_way_has_lost_nothing(if_busy: str) -> None:
    store = FaultyStore(MemoryStore("memory://"), FaultPlan(fail_before("cancel", nth=1)))
    with LocalWorker([chat()], store) as worker:
        first = submit(worker, "a")
        worker.step()
        with pytest.raises(StoreUnavailableError):
            submit(worker, "b", if_busy, idempotency_key="b")
        assert first.status() == "running"
        second = submit(worker, "b", if_busy, idempotency_key="b")
        worker.run_until_idle()
        assert first.status() == "cancelled"
        assert second.result(0)["log"] == ([] if if_busy == "rollback" else ["a", "hear a"]) + said("b")


def test_a_third_input_takes_the_place_of_the_second(serve: Serve) -> None:
    worker = serve(chat())
    submit(worker, "a")
    worker.step()
    second = submit(worker, "b", "rollback")
    worker.step()
    third = submit(worker, "c", "rollback")
    worker.run_until_idle()
    assert second.status() == "cancelled"
    assert third.result(0)["log"] == said("c")


def test_what_a_rolled_back_run_commits_too_late_does_not_come_back() -> None:
    store = FaultyStore(MemoryStore("memory://"), FaultPlan(fail_before("cancel", nth=1)))
    with LocalWorker([chat()], store) as worker:
        submit(worker, "a")
        worker.step()
        with pytest.raises(StoreUnavailableError):
            submit(worker, "b", "rollback", idempotency_key="b")
        worker.step()  # after the empty checkpoint was made that b begins with
        submit(worker, "b", "rollback", idempotency_key="b")
        worker.step()
        third = submit(worker, "c", "rollback")
        worker.run_until_idle()
        assert third.result(0)["log"] == said("c")


@pytest.mark.parametrize("if_busy", ["interrupt", "rollback"])
def test_what_a_node_brings_that_runs_meanwhile_is_dropped(serve: Serve, if_busy: str) -> None:
    worker = serve(chat())
    runs = [submit(worker, "a")]
    worker.at("node.after", lambda: runs.append(submit(worker, "b", if_busy)), node="think")
    worker.run_until_idle()
    assert runs[1].result(0)["log"] == ([] if if_busy == "rollback" else ["a", "hear a"]) + said("b")
    assert worker.stats.refused == 1


@pytest.mark.parametrize("if_busy", ["interrupt", "rollback"])
def test_of_many_inputs_at_once_one_is_left(serve: Serve, if_busy: str) -> None:
    worker = serve(chat())
    submit(worker, "a")
    worker.step()
    texts = [f"b{number}" for number in range(6)]
    with ThreadPoolExecutor(len(texts)) as pool:
        runs = list(pool.map(lambda text: submit(worker, text, if_busy), texts))
    worker.run_until_idle()
    ended = [run.status() for run in runs]
    assert sorted(ended) == ["cancelled"] * 5 + ["succeeded"]
    text = texts[ended.index("succeeded")]
    assert runs[ended.index("succeeded")].result(0)["log"][-4:] == said(text)


def test_another_mode_is_refused(serve: Serve) -> None:
    with pytest.raises(InputError, match="take 'reject', 'enqueue', 'interrupt', 'rollback'"):
        submit(serve(chat()), "a", "replace")
