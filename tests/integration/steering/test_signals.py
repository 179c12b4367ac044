"""Signals that a client sends to threads, before, while and after a node waits for them."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    END,
    START,
    CompiledGraph,
    IdempotencyError,
    InputError,
    RunFailedError,
    Runtime,
    StateGraph,
)
from petiole.testing.hooks import Hook, Hooks, SimulatedCrash
from petiole_workers.signals import SENDER, UNHEARD
from tests.integration.steering.conftest import Serve


class Order(TypedDict, total=False):
    got: Annotated[list[Any], operator.add]


def paying(times: int = 1) -> CompiledGraph:
    """``pay`` waits for the signal ``paid`` so many times."""

    def pay(state: Order, runtime: Runtime[Any]) -> Order:
        return {"got": [runtime.wait_signal("paid", timeout=3600) for _ in range(times)]}

    builder = StateGraph(Order)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    builder.add_edge("pay", END)
    return builder.compile(name="paying")


def test_a_signal_wakes_who_waits_for_it(serve: Serve) -> None:
    worker = serve(paying())
    run = worker.client.submit("paying", {}, thread_id="my order")
    worker.run_until_idle()
    assert run.status() == "running"
    [wait] = worker.client.explain("my order").waits
    assert (wait.kind, wait.subject) == ("signal", "paid")
    assert wait.command == "petiole run signal 'my order' paid --payload JSON"
    assert wait.until is not None
    worker.client.signal("my order", "unpaid", 1)
    worker.run_until_idle()
    assert run.status() == "running"
    worker.client.signal("my order", "paid", {"amount": 7})
    assert worker.messages.nodes == ["pay"]
    worker.run_until_idle()
    assert run.result(0)["got"] == [{"amount": 7}]


@pytest.mark.parametrize("point", ["wake.before", "wake.after"])
def test_a_sender_that_dies_before_it_wakes_has_sent_all_the_same(serve: Serve, point: str) -> None:
    worker = serve(paying())
    run = worker.client.submit("paying", {}, thread_id="t")
    worker.run_until_idle()
    before = worker.clock()
    sender = Hooks()

    def die() -> None:
        raise SimulatedCrash(worker, "its sender")

    sender.add(Hook(point, die))
    with sender.watching(), pytest.raises(SimulatedCrash):
        worker.client.signal("t", "paid", 7)
    worker.run_until_idle()
    worker.clock.advance_to(before + SENDER + 1)
    worker.run_until_idle()
    assert run.result(0)["got"] == [7]
    assert worker.clock() < before + 60, "a sweep has woken it, no timer"
    assert not worker.store.search_items(UNHEARD)


def test_a_signal_that_was_heard_leaves_no_note(serve: Serve) -> None:
    worker = serve(paying())
    worker.client.signal("t", "paid", 7, id="one")
    with pytest.raises(IdempotencyError):
        worker.client.signal("t", "paid", 8, id="one")
    assert not worker.store.search_items(UNHEARD)


def test_a_signal_that_comes_early_is_kept(serve: Serve) -> None:
    worker = serve(paying())
    worker.client.signal("t", "paid", 7)
    run = worker.client.submit("paying", {}, thread_id="t")
    worker.run_until_idle()
    assert run.result(0)["got"] == [7]


def test_a_signal_is_sent_once_by_its_id(serve: Serve) -> None:
    worker = serve(paying(2))
    run = worker.client.submit("paying", {}, thread_id="t")
    worker.run_until_idle()
    for _ in range(2):
        assert worker.client.signal("t", "paid", 7, id="bank-91") == "bank-91"
        worker.run_until_idle()
    assert run.status() == "running"
    with pytest.raises(IdempotencyError, match="sent with id 'bank-91' and another payload"):
        worker.client.signal("t", "paid", 8, id="bank-91")
    worker.client.signal("t", "paid", 8)
    worker.run_until_idle()
    assert run.result(0)["got"] == [7, 8]


def test_a_deadline_ends_a_wait_that_nothing_else_would(serve: Serve) -> None:
    builder = StateGraph(Order)
    builder.add_node("pay", lambda state, runtime: {"got": [runtime.wait_signal("paid")]})
    builder.add_edge(START, "pay")
    worker = serve(builder.compile(name="endless"))
    run = worker.client.submit("endless", {}, deadline=60)
    assert 60 <= worker.run_through_timers() < 90
    with pytest.raises(RunFailedError, match="DeadlineExceeded"):
        run.result(0)


def test_a_signal_needs_a_name(serve: Serve) -> None:
    with pytest.raises(InputError):
        serve(paying()).client.signal("t", "")
