"""A thread's second input and its checkpoints by hand, by the client on the store and by the one over HTTP, on every store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from petiole import (
    START,
    Client,
    ConflictError,
    IdempotencyError,
    InputError,
    InvalidUpdateError,
    NotFoundError,
    RunCancelledError,
    ThreadBusyError,
)
from petiole.api.app import create_app
from petiole.testing import LocalWorker
from petiole_stores.ids import new_id
from petiole_stores.store import Store
from tests.chat import chat, said
from tests.unit.api.listening import listening

MODES = ["reject", "enqueue", "interrupt", "rollback"]
MOMENT = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)


GRAPH = chat()


class Bench:
    """A worker on a store, one of its clients, and a thread that nobody else has."""

    def __init__(self, worker: LocalWorker, client: Client) -> None:
        self.worker, self.client, self.thread = worker, client, new_id()

    def submit(self, text: str, if_busy: Any = "reject", **options: Any) -> Any:
        return self.client.submit("chat", {"log": [text]}, thread_id=self.thread, if_busy=if_busy, **options)

    def step(self) -> None:
        """Let the worker do one task; a sweep finds what nobody has told it of."""
        assert self.worker.step() or (self.worker.sweep() and self.worker.step())

    def statuses(self) -> list[str]:
        """Of the thread's runs, the oldest first."""
        return [run.status for run in self.client.list_runs(thread_id=self.thread)][::-1]

    def saved(self, state: dict[str, Any], **options: Any) -> str:
        return self.client.save_checkpoint(self.thread, state, graph=GRAPH, **options)

    def points(self, **options: Any) -> list[str]:
        """The thread's checkpoints by their ids, newest first."""
        return [it.id for it in self.client.list_checkpoints(self.thread, **options)]


@pytest.fixture(scope="module")
def clients(shared_store: Store) -> Iterator[dict[str, Client]]:
    with (
        Client(shared_store, broker="memory://", graphs=[GRAPH]) as direct,
        listening(create_app(direct, authenticated=False)) as url,
        Client(url, graphs=[GRAPH]) as remote,
    ):
        yield {"direct": direct, "http": remote}


@pytest.fixture(params=["direct", "http"])
def bench(request: pytest.FixtureRequest, store: Store, clients: dict[str, Client]) -> Iterator[Bench]:
    with LocalWorker([GRAPH], store) as worker:
        yield Bench(worker, clients[request.param])
        worker.run_until_idle()


# ---------------------------------------------------------------- a second input


@pytest.mark.parametrize("if_busy", MODES)
def test_on_an_idle_thread_every_mode_is_a_plain_submit(bench: Bench, if_busy: str) -> None:
    for text in "ab":
        bench.submit(text, if_busy)
        bench.worker.run_until_idle()
    assert bench.client.state(bench.thread)["log"] == [*said("a"), *said("b")]
    assert bench.statuses() == ["succeeded", "succeeded"]


def test_reject_says_which_run_is_active_and_leaves_it_alone(bench: Bench) -> None:
    first = bench.submit("a")
    bench.step()
    with pytest.raises(ThreadBusyError, match=first.run_id):
        bench.submit("b", "reject")
    bench.worker.run_until_idle()
    assert first.result(10)["log"] == said("a")
    assert bench.statuses() == ["succeeded"]


def test_enqueue_runs_after_what_is_active(bench: Bench) -> None:
    first = bench.submit("a")
    bench.step()
    second, third = bench.submit("b", "enqueue"), bench.submit("c", "enqueue")
    assert bench.statuses() == ["running", "queued", "queued"]
    bench.worker.run_until_idle()
    assert first.result(10)["log"] == said("a")
    assert second.result(10)["log"] == [*said("a"), *said("b")]
    assert third.result(10)["log"] == [*said("a"), *said("b"), *said("c")]


def test_interrupt_goes_on_from_what_the_active_run_has_come_to(bench: Bench) -> None:
    first = bench.submit("a")
    bench.step()
    queued = bench.submit("b", "enqueue")
    third = bench.submit("c", "interrupt")
    bench.worker.run_until_idle()
    assert third.result(10)["log"] == ["a", "hear a", *said("c")]
    with pytest.raises(RunCancelledError, match=f"run {third.run_id} took its place"):
        first.result(10)
    assert queued.status() == "cancelled"


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_rollback_goes_back_to_where_the_thread_stood(bench: Bench, steps: int) -> None:
    bench.submit("a")
    bench.worker.run_until_idle()
    second = bench.submit("b")
    for _ in range(steps):
        bench.step()
    third = bench.submit("c", "rollback")
    bench.worker.run_until_idle()
    assert third.result(10)["log"] == [*said("a"), *said("c")]
    assert second.status() == "cancelled"


def test_rollback_of_a_threads_first_run_begins_the_thread_anew(bench: Bench) -> None:
    bench.submit("a")
    bench.step()
    second = bench.submit("b", "rollback")
    bench.worker.run_until_idle()
    assert second.result(10)["log"] == said("b")


@pytest.mark.parametrize("if_busy", ["enqueue", "interrupt", "rollback"])
def test_the_same_submit_again_is_the_same_run(bench: Bench, if_busy: str) -> None:
    bench.submit("a")
    bench.step()
    key = f"b of {bench.thread}"
    once = bench.submit("b", if_busy, idempotency_key=key)
    assert bench.submit("b", if_busy, idempotency_key=key).run_id == once.run_id
    with pytest.raises(IdempotencyError):
        bench.submit("other", if_busy, idempotency_key=key)
    bench.worker.run_until_idle()
    later = bench.submit("c")
    assert bench.submit("b", if_busy, idempotency_key=key).run_id == once.run_id
    bench.worker.run_until_idle()
    assert later.result(10)["log"][-4:] == said("c")


def test_no_other_mode_is_taken(bench: Bench) -> None:
    with pytest.raises(InputError, match="if_busy"):
        bench.submit("a", "replace")
    assert bench.statuses() == []


# ---------------------------------------------------------------- checkpoints


def test_checkpoints_are_listed_newest_first_and_loaded_by_id(bench: Bench) -> None:
    bench.submit("a")
    bench.worker.run_until_idle()
    points = bench.client.list_checkpoints(bench.thread)
    assert [it.step for it in points] == [3, 2, 1, 0, -1]
    assert [it.next for it in points] == [(), ("say",), ("think",), ("hear",), (START,)]
    assert [it.parent_id for it in points] == [*(it.id for it in points[1:]), None]
    assert bench.client.list_checkpoints(bench.thread, limit=2) == points[:2]
    assert bench.client.list_checkpoints(bench.thread, ns=None) == points
    assert bench.client.list_checkpoints(bench.thread, ns="inner:1") == []
    for point in points:
        assert bench.client.load_checkpoint(point.id) == point


def test_what_is_not_there_is_no_checkpoint(bench: Bench) -> None:
    assert bench.points() == []
    with pytest.raises(NotFoundError, match=bench.thread):
        bench.client.load_checkpoint(bench.thread)
    bench.client.delete_checkpoint(bench.thread)
    bench.client.clear_checkpoints(bench.thread)


def test_a_state_by_hand_is_kept_with_its_types_and_gone_on_from(bench: Bench) -> None:
    state = {"log": ["z"], "at": MOMENT}
    first = bench.saved(state, metadata={"by": "ann", "on": MOMENT})
    second = bench.saved({"log": ["y"]}, next=["think", "say"])
    newest, before = bench.client.list_checkpoints(bench.thread)
    assert (newest.id, newest.parent_id, newest.next, newest.source) == (
        second,
        first,
        ("think", "say"),
        "update",
    )
    assert (before.id, before.parent_id, before.next) == (first, None, ())
    assert (before.state, dict(before.metadata)) == (state, {"by": "ann", "on": MOMENT})
    assert bench.client.load_checkpoint(first) == before
    handle = bench.client.resume(bench.thread, checkpoint=second, graph=GRAPH)
    bench.worker.run_until_idle()
    assert handle.result(10)["log"] == ["y", "say y", "think y", "say y"]


def test_a_state_by_hand_is_held_against_the_graph(bench: Bench) -> None:
    with pytest.raises(InvalidUpdateError, match=r"no key 'where': it has 'log', 'at'"):
        bench.saved({"log": [], "where": 1})
    with pytest.raises(InputError, match=r"no node 'fly': it has 'hear', 'think', 'say'"):
        bench.saved({"log": []}, next=["hear", "fly"])
    with pytest.raises(InputError, match="'hear'"):
        bench.saved({"log": []}, next="hear")
    assert bench.points() == []


def test_checkpoints_are_left_alone_while_a_run_is_active(bench: Bench) -> None:
    handle = bench.submit("a")
    bench.step()
    bench.step()
    points = bench.points()
    with pytest.raises(ThreadBusyError, match=handle.run_id):
        bench.saved({"log": ["z"]})
    with pytest.raises(ConflictError):
        bench.client.delete_checkpoint(points[-1])
    with pytest.raises(ConflictError):
        bench.client.clear_checkpoints(bench.thread)
    assert bench.points() == points
    bench.worker.run_until_idle()
    assert handle.result(10)["log"] == said("a")


def test_of_a_deleted_newest_checkpoint_the_parent_takes_the_place(bench: Bench) -> None:
    bench.submit("a")
    bench.worker.run_until_idle()
    newest, *others = bench.points()
    for _ in range(2):  # the second time it is gone already
        bench.client.delete_checkpoint(newest)
        assert bench.points() == others
    assert bench.client.state(bench.thread)["log"] == said("a")[:3]
    with pytest.raises(NotFoundError):
        bench.client.load_checkpoint(newest)
    bench.submit("b")
    bench.worker.run_until_idle()
    assert bench.client.state(bench.thread)["log"] == [*said("a")[:3], *said("b")]


def test_a_cleared_thread_begins_anew_and_keeps_its_runs(bench: Bench) -> None:
    bench.submit("a")
    bench.worker.run_until_idle()
    for _ in range(2):
        bench.client.clear_checkpoints(bench.thread)
        assert bench.points() == []
    assert bench.statuses() == ["succeeded"]
    handle = bench.submit("b")
    bench.worker.run_until_idle()
    assert handle.result(10)["log"] == said("b")
