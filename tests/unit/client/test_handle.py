"""Waiting for a run and taking its result."""

from __future__ import annotations

import threading

import pytest

from petiole import (
    Client,
    ConflictError,
    Failure,
    RunCancelledError,
    RunFailedError,
    RunInterruptedError,
    RunTimeoutError,
)
from petiole.client import handle as handles
from petiole_stores.errors import NotFoundError
from petiole_stores.memory import MemoryStore
from tests.unit.driving import Switch, counting, drive


def test_the_result_is_the_final_state(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1})
    drive(store, counting())
    assert handle.result(0) == {"n": 4, "trail": ["add", "double", "note", "last"]}
    assert handle.status() == "succeeded"


def test_waiting_sees_an_end_that_comes_later(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1})
    worker = threading.Timer(0.05, drive, (store, counting()))
    worker.start()
    assert handle.wait(10).status == "succeeded"
    worker.join()


def test_waiting_ends_in_time_and_says_where_to_look(client: Client) -> None:
    handle = client.submit("counting", {"n": 1})
    with pytest.raises(RunTimeoutError, match=r"still queued after 0\.05 s"):
        handle.wait(0.05)


def test_a_result_that_retention_removed_says_so(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1})
    drive(store, counting())
    run = handle.run
    assert run.checkpoint_id is not None
    store.delete(run.checkpoint_id)
    with pytest.raises(NotFoundError, match=r"has succeeded, and its final state .* max_checkpoints"):
        handle.result(0)


def test_a_failed_run_raises_its_failure(client: Client, store: MemoryStore) -> None:
    switch = Switch()
    switch.broken = True
    handle = client.submit("counting", {"n": 1})
    drive(store, counting(switch))
    with pytest.raises(RunFailedError, match="double is broken") as caught:
        handle.result(0)
    failure = caught.value.failure
    assert isinstance(failure, Failure)
    assert (failure.type, failure.node, failure.attempt) == ("ValueError", "double", 1)
    assert "raise ValueError" in failure.traceback
    assert "petiole_workers" not in failure.traceback  # it begins at the node
    assert "petiole run replay" in str(caught.value)


def test_a_cancelled_run_says_so(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1})
    assert handle.cancel("not wanted") is True
    assert handle.cancel() is False
    with pytest.raises(RunCancelledError, match=handle.run_id):
        handle.result(0)


def test_a_run_that_has_ended_cannot_be_cancelled(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1})
    drive(store, counting())
    with pytest.raises(ConflictError, match="nothing is left to cancel"):
        handle.cancel()


def test_an_interrupted_run_is_not_waited_for(client: Client, store: MemoryStore) -> None:
    graph = counting(interrupt_before=["last"])
    handle = client.submit(graph, {"n": 1}, thread_id="t")
    drive(store, graph)
    assert handle.wait(0).status == "interrupted"
    with pytest.raises(RunInterruptedError, match="petiole run resume t"):
        handle.result(0)
    client.resume("t")
    drive(store, graph)
    assert handle.result(0)["trail"][-1] == "last"
    with pytest.raises(ConflictError, match="only an interrupted run"):
        client.resume("t")


def test_pauses_grow_from_20_to_500_ms_and_end_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(handles.time, "monotonic", lambda: now[0])
    seen = []
    for pause in handles.pauses(3.0):
        seen.append(pause)
        now[0] += pause or 0.0
    assert seen[0] == 0.02
    assert max(pause for pause in seen if pause) == 0.5
    assert seen[-1] is None
    assert sum(pause for pause in seen if pause) == pytest.approx(3.0)
