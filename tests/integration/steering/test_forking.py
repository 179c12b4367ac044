"""States looked at and changed by hand, and threads that go on from where they once stood."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    END,
    START,
    CompiledGraph,
    ConfigurationError,
    ConflictError,
    InputError,
    InvalidUpdateError,
    NotFoundError,
    StateGraph,
    ThreadBusyError,
    interrupt,
)
from petiole.testing import LocalWorker
from tests.integration.steering.conftest import Serve


class Trip(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    to: str


def trip(**options: Any) -> CompiledGraph:
    """``plan`` -> ``book`` -> ``pack``; where ``to`` is "?", ``book`` asks."""
    builder = StateGraph(Trip)
    builder.add_node("plan", lambda state: {"log": ["plan"]})
    builder.add_node("book", _book)
    builder.add_node("pack", lambda state: {"log": [f"pack for {state['to']}"]})
    for before, after in ((START, "plan"), ("plan", "book"), ("book", "pack"), ("pack", END)):
        builder.add_edge(before, after)
    return builder.compile(name="trip", **options)


def _book(state: Trip) -> Trip:
    to = interrupt("where to?") if state["to"] == "?" else state["to"]
    return {"log": [f"book {to}"], "to": to}


def run(worker: LocalWorker, to: str = "Oslo", thread: str = "t") -> None:
    worker.client.submit(trip(), {"to": to}, thread_id=thread)
    worker.run_until_idle()


def before(worker: LocalWorker, node: str, thread: str = "t") -> str:
    """The oldest checkpoint that ``node`` comes after."""
    found = [it for it in worker.client.list_checkpoints(thread) if it.next == (node,)]
    return found[-1].id


# ---------------------------------------------------------------- looking


def test_a_state_and_its_history_are_langgraph_s(serve: Serve) -> None:
    worker = serve(trip())
    run(worker, "?")
    state = worker.client.get_state("t")
    assert state.values == {"log": ["plan"], "to": "?"}
    assert state.next == ("book",)
    assert [it.value for it in state.interrupts] == ["where to?"]
    assert [it.interrupts for it in state.tasks] == [state.interrupts]
    old = [*worker.client.state_history("t")]
    assert [it.metadata["step"] for it in old if it.metadata] == [1, 0, -1]
    assert worker.client.get_state("t", checkpoint=before(worker, "plan")).next == ("plan",)
    [newest] = worker.client.state_history("t", limit=1)
    assert newest.config == state.config
    earlier = worker.client.state_history("t", before=newest.config["configurable"]["checkpoint_id"])
    assert [it.next for it in earlier] == [("plan",), ("__start__",)]
    assert [it.next for it in worker.client.state_history("t", filter={"source": "input"})] == [
        ("__start__",)
    ]


def test_a_state_needs_its_graph(serve: Serve) -> None:
    worker = serve(trip())
    worker.client.submit("trip", {"to": "Oslo"}, thread_id="t")
    worker.run_until_idle()
    with pytest.raises(ConfigurationError, match=r"graph 'trip' is needed here.*--graphs"):
        worker.client.get_state("t")
    other = StateGraph(Trip).add_node("a", lambda state: {}).add_edge(START, "a").compile(name="other")
    with pytest.raises(ConfigurationError, match="the graph given is 'other', and the thread's is 'trip'"):
        worker.client.get_state("t", graph=other)
    assert worker.client.get_state("t", graph=trip()).values["to"] == "Oslo"
    with pytest.raises(NotFoundError):
        worker.client.get_state("nobody", graph=trip())
    with pytest.raises(NotFoundError, match="petiole run history t"):
        worker.client.get_state("t", checkpoint="nothing")


# ---------------------------------------------------------------- updates


def test_an_interrupted_run_goes_on_from_an_update(serve: Serve) -> None:
    worker = serve(trip())
    run(worker, "?")
    handle = worker.client.handle("t")
    config = worker.client.update_state("t", {"to": "Rome", "log": ["book by hand"]}, as_node="book")
    state = worker.client.get_state("t")
    assert (state.config, state.next) == (config, ("pack",))
    assert worker.client.interrupts("t") == []
    assert handle.status() == "interrupted"
    worker.client.resume("t")
    worker.run_until_idle()
    assert handle.result(0)["log"] == ["plan", "book by hand", "pack for Rome"]


def test_a_paused_run_goes_on_from_an_update(serve: Serve) -> None:
    worker = serve(trip())
    handle = worker.client.submit(trip(), {"to": "Oslo"}, thread_id="t")
    worker.step()
    worker.client.pause("t")
    worker.client.update_state("t", {"to": "Rome"}, as_node="plan")
    worker.client.unpause("t")
    worker.run_until_idle()
    assert handle.result(0)["log"] == ["plan", "book Rome", "pack for Rome"]


def test_a_thread_whose_run_is_over_goes_on_from_an_update(serve: Serve) -> None:
    worker = serve(trip())
    run(worker)
    worker.client.update_state("t", {"to": "Rome"}, as_node="plan")
    again = worker.client.resume("t")
    worker.run_until_idle()
    assert again.result(0)["log"] == ["plan", "book Oslo", "pack for Oslo", "book Rome", "pack for Rome"]
    with pytest.raises(ConflictError, match="only an interrupted run"):
        worker.client.resume("t")


def test_an_update_with_what_ends_the_run(serve: Serve) -> None:
    worker = serve(trip())
    run(worker, "?")
    handle = worker.client.handle("t")
    queued = worker.client.submit("trip", {"to": "Bonn"}, thread_id="t", if_busy="enqueue")
    worker.client.update_state("t", {"log": ["packed by hand"]}, as_node="pack")
    assert handle.result(0)["log"] == ["plan", "packed by hand"]
    worker.run_until_idle()
    assert queued.result(0)["log"][-1] == "pack for Bonn"


def test_several_updates_are_one_step_each(serve: Serve) -> None:
    worker = serve(trip())
    worker.client.bulk_update_state(
        "new", [[({"to": "Rome"}, START)], [({"log": ["a"]}, "plan")]], graph=trip()
    )
    worker.client.resume("new", checkpoint=worker.client.list_checkpoints("new")[0].id)
    worker.run_until_idle()
    assert worker.client.state("new")["log"] == ["a", "book Rome", "pack for Rome"]


def test_updates_that_are_refused(serve: Serve) -> None:
    worker = serve(trip())
    worker.client.submit(trip(), {"to": "Oslo"}, thread_id="t")
    worker.step()
    with pytest.raises(ThreadBusyError, match="has a run at work"):
        worker.client.update_state("t", {"to": "Rome"}, as_node="plan")
    worker.run_until_idle()
    with pytest.raises(InvalidUpdateError, match="as_node is 'fly', which is no node"):
        worker.client.update_state("t", {}, as_node="fly")
    with pytest.raises(NotFoundError):
        worker.client.update_state("t", {}, as_node="plan", checkpoint="nothing")


# ---------------------------------------------------------------- forks


def test_several_forks_of_one_checkpoint(serve: Serve) -> None:
    worker = serve(trip())
    run(worker)
    point = before(worker, "book")
    found = []
    for city in ("Rome", "Bonn"):
        fork = worker.client.fork("t", point, {"to": city}, as_node="plan")
        worker.run_until_idle()
        found.append(fork.result(0)["log"])
    plain = worker.client.fork("t", point)
    worker.run_until_idle()
    assert found == [["plan", f"book {city}", f"pack for {city}"] for city in ("Rome", "Bonn")]
    assert plain.result(0)["log"] == ["plan", "book Oslo", "pack for Oslo"]
    assert len({it.run_id for it in worker.client.list_checkpoints("t")}) == 5  # with the two made by hand
    assert worker.client.load_checkpoint(point).state["to"] == "Oslo"


def test_a_fork_of_an_interrupted_thread_is_its_run_going_on(serve: Serve) -> None:
    worker = serve(trip())
    run(worker, "?")
    handle = worker.client.handle("t")
    fork = worker.client.fork("t", before(worker, "plan"), {"to": "Rome"}, as_node="__start__")
    worker.run_until_idle()
    assert fork.run_id == handle.run_id
    assert fork.result(0)["log"] == ["plan", "book Rome", "pack for Rome"]


def test_a_fork_without_values_asks_anew(serve: Serve) -> None:
    worker = serve(trip())
    run(worker, "?")
    [asked] = worker.client.interrupts("t")
    worker.client.fork("t", before(worker, "plan"))
    worker.run_until_idle()
    [again] = worker.client.interrupts("t")
    assert (again.value, again.id == asked.id) == (asked.value, False)
    worker.client.resume("t", "Bonn")
    worker.run_until_idle()
    assert worker.client.state("t")["log"] == ["plan", "book Bonn", "pack for Bonn"]


def test_forks_that_lead_nowhere(serve: Serve) -> None:
    worker = serve(trip())
    run(worker)
    with pytest.raises(ConflictError, match="end of its run"):
        worker.client.fork("t", worker.client.list_checkpoints("t")[0].id)
    with pytest.raises(ConflictError, match="no node comes"):
        worker.client.fork("t", before(worker, "pack"), {"to": "Rome"}, as_node="pack")
    with pytest.raises(NotFoundError):
        worker.client.fork("t", "nothing")


def test_nodes_to_resume_from(serve: Serve) -> None:
    worker = serve(trip())
    run(worker)
    again = worker.client.resume("t", resume_from=["pack"])
    worker.run_until_idle()
    assert again.result(0)["log"] == ["plan", "book Oslo", "pack for Oslo", "pack for Oslo"]
    again = worker.client.resume("t", checkpoint=before(worker, "book"), resume_from=["pack"])
    worker.run_until_idle()
    assert again.result(0)["log"] == ["plan", "pack for Oslo"]
    with pytest.raises(InputError, match="'fly' is no node"):
        worker.client.resume("t", resume_from=["fly"])
    with pytest.raises(InputError, match="give one of them"):
        worker.client.resume("t", 1, resume_from=["pack"])


# ---------------------------------------------------------------- checkpoints by hand


def test_a_checkpoint_saved_by_hand_is_held_against_the_graph(serve: Serve) -> None:
    worker = serve(trip())
    saved = worker.client.save_checkpoint("t", {"to": "Rome", "log": []}, next=["pack"], graph=trip())
    [point] = worker.client.list_checkpoints("t")
    assert (point.id, point.state["to"], point.next) == (saved, "Rome", ("pack",))
    handle = worker.client.resume("t", checkpoint=saved)
    worker.run_until_idle()
    assert handle.result(0)["log"] == ["pack for Rome"]
    with pytest.raises(InvalidUpdateError, match="no key 'where'"):
        worker.client.save_checkpoint("t", {"where": 1})
    with pytest.raises(InputError, match="no node 'fly'"):
        worker.client.save_checkpoint("t", {}, next=["fly"])
    worker.client.delete_checkpoint(saved)
    with pytest.raises(NotFoundError):
        worker.client.load_checkpoint(saved)
    worker.client.clear_checkpoints("t")
    assert worker.client.list_checkpoints("t") == []


def test_no_checkpoint_is_saved_beside_an_active_run(serve: Serve) -> None:
    worker = serve(trip())
    worker.client.submit(trip(), {"to": "Oslo"}, thread_id="t")
    with pytest.raises(ThreadBusyError, match="which is queued: a checkpoint saved now"):
        worker.client.save_checkpoint("t", {"to": "Rome"})


@pytest.mark.parametrize("url", ["memory://", "file://{}", "sqlite:///{}/trip.db"])
def test_a_graph_keeps_checkpoints_by_hand_itself(url: str, tmp_path: Path) -> None:
    graph, config = trip(checkpointer=url.format(tmp_path)), {"configurable": {"thread_id": "t"}}
    graph.save_checkpoint(config, {"to": "Bonn"}, next=["plan"])
    saved = graph.save_checkpoint(config, {"to": "Rome", "log": []}, next=["pack"])
    newest, _ = graph.list_checkpoints(config)
    assert (newest.id, newest.step) == (saved, 1)
    assert graph.load_checkpoint(saved).state["to"] == "Rome"
    assert graph.invoke(None, config)["log"] == ["pack for Rome"]
    with pytest.raises(InvalidUpdateError, match="no key 'where'"):
        graph.save_checkpoint(config, {"where": 1})
    graph.clear_checkpoints(config)
    assert graph.list_checkpoints(config) == []
    with pytest.raises(ConfigurationError, match="without a checkpointer"):
        trip().list_checkpoints(config)


def test_an_interrupted_run_begins_anew_from_its_input(serve: Serve) -> None:
    worker = serve(trip())
    run(worker, "?")
    first = before(worker, START)
    forked = worker.client.fork("t", first, graph=trip())
    assert forked.run_id == worker.client.handle("t").run_id
    assert worker.client.get_state("t").next == ("plan",)
    worker.run_until_idle()
    assert forked.status() == "interrupted"
    assert worker.client.state("t") == {"log": ["plan"], "to": "?"}
    [again] = [it for it in worker.client.list_checkpoints("t") if it.next == ("plan",)][:1]
    assert again.parent_id == first
    worker.client.resume("t", "Rome")
    worker.run_until_idle()
    assert forked.result()["log"] == ["plan", "book Rome", "pack for Rome"]
