"""Many runs at once, and dead letters, from the client."""

from __future__ import annotations

import asyncio

import pytest

from petiole import Client
from petiole_stores.memory import MemoryStore
from tests.unit.driving import Switch, counting, drive


@pytest.fixture
def failed(client: Client, store: MemoryStore) -> Switch:
    """Three threads whose runs have failed."""
    switch = Switch()
    switch.broken = True
    for thread in ("a", "b", "c"):
        client.submit("counting", {"n": 1}, thread_id=thread)
    drive(store, counting(switch))
    return switch


def test_failed_runs_go_on_and_refusals_are_told(client: Client, store: MemoryStore, failed: Switch) -> None:
    client.submit("counting", {"n": 1}, thread_id="b")
    failed.broken = False
    runs = client.list_runs(status="failed", graph="counting", error_type="ValueError")
    results = {it.run.thread_id: (it.result, it.reason) for it in client.replay_all(runs)}
    assert results == {
        "a": ("done", ""),
        "b": ("refused", "another run of its thread is active"),
        "c": ("done", ""),
    }
    drive(store, counting(failed))
    assert client.get_run("a").status == client.get_run("c").status == "succeeded"


def test_runs_are_cancelled_with_a_reason(client: Client, store: MemoryStore, failed: Switch) -> None:
    client.submit("counting", {"n": 1}, thread_id="d")
    results = {it.run.thread_id: it.reason for it in client.cancel_all(client.list_runs(), reason="enough")}
    assert results == {"a": "it is failed", "b": "it is failed", "c": "it is failed", "d": ""}
    assert client.get_run("d").status == "cancelled"


def test_dead_letters_leave_when_they_are_replayed_or_dropped(
    client: Client, store: MemoryStore, failed: Switch
) -> None:
    letters = [*client.dead_letters()]
    assert [(it.task.thread_id, it.task.node, it.failure.type) for it in letters] == [
        ("c", "double", "ValueError"),
        ("b", "double", "ValueError"),
        ("a", "double", "ValueError"),
    ]
    assert client.drop_dead_letters([letters[0].task.task_id, "unknown"]) == 1
    client.replay("b")
    assert [it.task.thread_id for it in client.dead_letters()] == ["a"]
    drive(store, counting(failed))
    assert [it.task.thread_id for it in client.dead_letters()] == ["b", "a"]


def test_the_async_client_iterates_too(client: Client, failed: Switch) -> None:
    async def collect() -> tuple[list[str], list[str]]:
        letters = [it.task.thread_id async for it in client.aio.dead_letters(thread_id="a")]
        runs = [run async for run in client.aio.list_runs(status="failed")]
        return letters, [it.result async for it in client.aio.replay_all(runs)]

    assert asyncio.run(collect()) == (["a"], ["done", "done", "done"])
