"""Replays: a failed run goes on itself; a new run starts from a checkpoint or before a node."""

from __future__ import annotations

import pytest

from petiole import Client, ConflictError, NotFoundError, ThreadBusyError
from petiole_stores.memory import MemoryStore
from tests.unit.driving import Switch, counting, drive


@pytest.fixture
def switch() -> Switch:
    return Switch()


def test_a_failed_run_goes_on_from_its_failed_nodes(
    client: Client, store: MemoryStore, switch: Switch
) -> None:
    switch.broken = True
    first = client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    assert first.status() == "failed"
    switch.broken = False
    again = client.replay("t")
    drive(store, counting(switch))
    assert again.run_id == first.run_id
    assert again.result(0)["n"] == 4
    assert switch.calls.count("double") == 2
    assert (switch.calls.count("add"), switch.calls.count("note"), switch.calls.count("last")) == (1, 1, 1)


def test_asking_twice_replays_once(client: Client, store: MemoryStore, switch: Switch) -> None:
    switch.broken = True
    handle = client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    client.replay("t")
    with pytest.raises(ConflictError, match="is queued"):
        client.replay("t")
    drive(store, counting(switch))
    client.replay("t")
    assert handle.run.replays == 2


def test_a_checkpoint_starts_a_new_run(client: Client, store: MemoryStore, switch: Switch) -> None:
    first = client.submit(counting(switch), {"n": 1}, thread_id="t", tags=["x"], recursion_limit=7)
    drive(store, counting(switch))
    [point] = [e.checkpoint for e in client.history("t") if e.checkpoint and e.checkpoint.next == ("last",)]
    again = client.replay("t", checkpoint=point.id)
    drive(store, counting(switch))
    assert again.run_id != first.run_id
    assert again.result(0)["trail"] == ["add", "double", "note", "last"]
    assert switch.calls.count("last") == 2
    assert switch.calls.count("double") == 1
    old, new = first.run, again.run
    assert (new.graph, new.tags, new.config, new.fingerprint) == (
        old.graph,
        old.tags,
        old.config,
        old.fingerprint,
    )
    assert first.run_id in new.metadata


def test_a_node_starts_a_new_run_before_it(client: Client, store: MemoryStore, switch: Switch) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    client.replay("t", from_node="double")
    drive(store, counting(switch))
    assert (switch.calls.count("add"), switch.calls.count("double"), switch.calls.count("last")) == (1, 2, 2)


def test_what_cannot_be_replayed_says_why(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting())
    end = client.history("t")[0].checkpoint
    assert end is not None
    with pytest.raises(ConflictError, match=r"succeeded.*--checkpoint"):
        client.replay("t")
    with pytest.raises(ConflictError, match="no node comes next"):
        client.replay("t", checkpoint=end.id)
    with pytest.raises(NotFoundError, match=r"its nodes are: .*double"):
        client.replay("t", from_node="nowhere")
    with pytest.raises(NotFoundError, match="not one of thread"):
        client.replay("t", checkpoint="nothing")
    with pytest.raises(NotFoundError, match="petiole run list"):
        client.replay("unknown")


def test_a_node_that_does_not_follow_the_checkpoint_is_refused(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting())
    [point] = [e.checkpoint for e in client.history("t") if e.checkpoint and e.checkpoint.next == ("last",)]
    with pytest.raises(ConflictError, match="come 'last', not 'add'"):
        client.replay("t", checkpoint=point.id, from_node="add")


def test_a_failed_run_behind_an_active_one_waits_for_it(
    client: Client, store: MemoryStore, switch: Switch
) -> None:
    switch.broken = True
    failed = client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    client.submit("counting", {"n": 1}, thread_id="t")
    with pytest.raises(ThreadBusyError, match="another active run"):
        client.replay("t", run=failed.run_id)


def test_a_thread_that_has_gone_on_is_not_turned_back(
    client: Client, store: MemoryStore, switch: Switch
) -> None:
    switch.broken = True
    failed = client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    switch.broken = False
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    with pytest.raises(ConflictError, match="gone on since"):
        client.replay("t", run=failed.run_id)
