"""Pause, unpause, delete: what they do, and what each refusal says."""

from __future__ import annotations

import pytest

from petiole import Client, ConflictError, NotFoundError, ThreadBusyError
from petiole_stores.memory import MemoryStore
from tests.unit.driving import Switch, counting, drive


def test_a_paused_run_starts_nothing_until_it_is_unpaused(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1}, thread_id="t")
    assert client.pause("t", reason="later")
    assert not client.pause("t")
    drive(store, counting())
    assert handle.status() == "paused"
    assert client.unpause("t")
    assert not client.unpause("t")
    drive(store, counting())
    assert handle.result(0)["n"] == 4


def test_a_handle_and_an_async_client_hold_back_too(client: Client) -> None:
    import asyncio

    handle = client.submit("counting", {"n": 1})
    assert handle.pause("why")
    assert asyncio.run(client.aio.unpause(handle.thread_id))
    assert handle.status() == "queued"


def test_a_run_behind_another_is_named_with_the_one_ahead(client: Client) -> None:
    first = client.submit("counting", {"n": 1}, thread_id="t")
    client.submit("counting", {"n": 1}, thread_id="t", if_busy="enqueue")
    with pytest.raises(ConflictError, match=f"queued behind run {first.run_id}"):
        client.pause("t")
    assert client.pause("t", run=first.run_id)


def test_an_interrupted_run_is_not_to_be_paused_but_resumed(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(interrupt_after=["add"]))
    for call in (client.pause, client.unpause):
        with pytest.raises(ConflictError, match="petiole run resume t"):
            call("t")


def test_a_paused_run_is_not_to_be_resumed_but_unpaused(client: Client) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    client.pause("t")
    with pytest.raises(ConflictError, match=r"is paused: `petiole run unpause t`"):
        client.resume("t")


def test_what_has_ended_is_neither_paused_nor_unpaused(client: Client, store: MemoryStore) -> None:
    switch = Switch()
    switch.broken = True
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    with pytest.raises(ConflictError, match="is failed: only a run that has not ended"):
        client.pause("t")
    with pytest.raises(ConflictError, match="is failed, not paused: it has ended"):
        client.unpause("t")
    with pytest.raises(ConflictError, match=r"is failed: `petiole run replay t`"):
        client.resume("t")


def test_a_blocked_run_says_why(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1}, thread_id="t")
    store.block([handle.run_id], kind="Unserved", reason="version 3 is served by nobody")
    with pytest.raises(ConflictError, match=r"blocked, not paused \(version 3 is served by nobody\)"):
        client.unpause("t")


def test_a_thread_is_deleted_with_all_that_it_has(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting())
    assert client.delete("t")
    assert store.get_run(handle.run_id) is None
    assert store.head("t") is None
    assert not client.delete("t")
    with pytest.raises(NotFoundError):
        client.get_run("t")


def test_a_busy_thread_is_deleted_by_force_alone(client: Client, store: MemoryStore) -> None:
    first = client.submit("counting", {"n": 1}, thread_id="t")
    client.submit("counting", {"n": 1}, thread_id="t", if_busy="enqueue")
    with pytest.raises(ThreadBusyError, match=rf"run {first.run_id}, which is queued.*--force"):
        client.delete("t")
    assert client.delete("t", force=True)
    assert store.list_runs().runs == []
