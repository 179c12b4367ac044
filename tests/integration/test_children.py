"""Child runs: a node that runs another graph on a thread of its own, on every store, by workers and in process."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    START,
    Command,
    CompiledGraph,
    Fixed,
    GraphValidationError,
    RunCancelledError,
    RunFailedError,
    RunInterruptedError,
    Send,
    StateGraph,
    child,
    interrupt,
)
from petiole.testing import LocalWorker
from petiole_stores.records import Outcome, Run, Task, TaskRef
from petiole_workers.children import LAST_LOOK
from petiole_workers.spool import commit, entry_of


class Bill(TypedDict, total=False):
    order: int
    total: int
    log: Annotated[list[str], operator.add]


class Order(TypedDict, total=False):
    order: int
    customer: str
    total: int
    seen: Annotated[list[Any], operator.add]


def billing(node: Callable[[Bill], Any], name: str = "billing") -> CompiledGraph:
    builder = StateGraph(Bill).add_node("price", node).add_node("close", lambda state: {"log": ["closed"]})
    return builder.add_edge(START, "price").add_edge("price", "close").compile(name=name)


def price(state: Bill) -> Bill:
    return {"total": state["order"] * 10, "log": ["priced"]}


def shop(node: Any, **options: Any) -> CompiledGraph:
    builder = StateGraph(Order).add_node("bill", node, **options)
    builder.add_node("ship", lambda state: {"seen": [state.get("total")]})
    return builder.add_edge(START, "bill").add_edge("bill", "ship").compile(name="shop")


STORES = [
    "memory",
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
]


@pytest.fixture(params=STORES)
def workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., LocalWorker]]:
    urls: dict[str, Callable[[], str | None]] = {
        "memory": lambda: None,
        "sqlite": lambda: f"sqlite:///{tmp_path}/s.db",
        "postgres": lambda: request.getfixturevalue("postgres_url"),
        "redis": lambda: request.getfixturevalue("redis_url"),
    }
    url = urls[request.param]()
    made: list[LocalWorker] = []

    def make(*graphs: CompiledGraph) -> LocalWorker:
        made.append(LocalWorker(graphs, url))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def task_of(worker: LocalWorker, run_id: str, node: str = "bill") -> Task:
    return [it for it in worker.client.tasks(run_id) if it.node == node and not it.replaced][-1]


def child_of(worker: LocalWorker) -> Run:
    [found] = worker.client.list_runs(graph="billing")
    return found


# ---------------------------------------------------------------- on workers


def test_the_parent_waits_without_a_slot_and_takes_the_result(workers: Callable[..., LocalWorker]) -> None:
    worker = workers(shop(child("billing")), billing(price))
    run = worker.client.submit("shop", {"order": 7, "customer": "ann"})
    while worker.client.tasks(run.run_id)[-1].status != "parked":
        assert worker.step()
    found = child_of(worker)
    assert found.thread_id != run.thread_id
    task = task_of(worker, run.run_id)
    assert (task.status, task.awaits, task.holder) == ("parked", f"run:{found.run_id}", None)
    worker.messages.drop_all()
    before = worker.clock()
    worker.run_until_idle()
    assert run.result(0) == {"order": 7, "customer": "ann", "total": 70, "seen": [70]}
    assert worker.clock() == before, "the child's end has woken it, no timer"
    assert worker.client.state(found.thread_id)["log"] == ["priced", "closed"]


def test_a_lost_wake_costs_time_only(
    workers: Callable[..., LocalWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = workers(shop(child("billing")), billing(price))
    monkeypatch.setattr(worker.store, "wake", lambda *given: [])
    run = worker.client.submit("shop", {"order": 7})
    worker.run_until_idle()
    assert child_of(worker).status == "succeeded"
    assert task_of(worker, run.run_id).status == "parked"
    assert worker.run_through_timers() <= LAST_LOOK
    assert run.result(0)["total"] == 70


def test_an_end_that_comes_by_the_spool_wakes_the_parent(workers: Callable[..., LocalWorker]) -> None:
    worker = workers(shop(child("billing")), billing(price))
    store, run = worker.store, worker.client.submit("shop", {"order": 7})
    while "close" not in worker.messages.nodes:
        assert worker.step()
    worker.messages.drop_all()
    task, parent = task_of(worker, child_of(worker).run_id, "close"), task_of(worker, run.run_id)
    store.claim(worker.holder, "other", [(task.task_id, "token")])
    ref = TaskRef(
        task_id=task.task_id, run_id=task.run_id, thread_id=task.thread_id, queue=task.queue,
        priority=task.priority, graph="billing", node="close",
    )  # fmt: skip
    error = '{"type": "ValueError", "message": "not closed", "node": "close", "attempt": 1}'
    outcome = Outcome(
        task_id=task.task_id, token="token", ending="failed", error=error, advance_id="next", advance_token="next token"
    )  # fmt: skip
    [answer], publish = commit(entry_of(worker.holder, "other", [outcome], [ref]), store)
    assert (answer.result, [it.task_id for it in publish]) == ("committed", [parent.task_id])
    worker.run_until_idle()
    with pytest.raises(RunFailedError, match="not closed"):
        run.result(0)


def test_looks_grow_apart(workers: Callable[..., LocalWorker]) -> None:
    node = child("billing", thread=lambda state: "one")
    worker = workers(shop(node), billing(price))
    worker.client.submit("billing", {"order": 1}, thread_id="one", at=timedelta(seconds=1000))
    run = worker.client.submit("shop", {"order": 7})
    waits = []
    for _ in range(8):
        worker.run_until_idle()
        task = task_of(worker, run.run_id)
        assert task.run_at is not None
        waits.append(round(task.run_at - worker.clock()))
        worker.clock.advance_to(task.run_at + 0.01)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    worker.run_through_timers()
    assert run.result(0)["total"] == 70


def test_a_crashed_attempt_gets_the_same_child(workers: Callable[..., LocalWorker]) -> None:
    worker = workers(shop(child("billing")), billing(price))
    run = worker.client.submit("shop", {"order": 7})
    worker.crash_at("submit.after", node="bill")
    worker.run_until_idle()
    worker.restart()
    worker.clock.tick(20)
    worker.run_through_timers()
    assert run.result(0)["total"] == 70
    assert child_of(worker).status == "succeeded"


def test_input_output_and_thread_are_the_authors(workers: Callable[..., LocalWorker]) -> None:
    node = child(
        "billing",
        thread=lambda state: f"bills of {state['customer']}",
        input=lambda state: {"order": state["order"] + 1},
        output=lambda found: {"total": -found["total"], "seen": [found["log"]]},
    )
    worker = workers(shop(node), billing(price))
    first = worker.client.submit("shop", {"order": 1, "customer": "ann"})
    second = worker.client.submit("shop", {"order": 2, "customer": "ann"})
    worker.run_through_timers()
    once, twice = ["priced", "closed"], ["priced", "closed"] * 2
    assert [first.result(0)["total"], second.result(0)["total"]] == [-20, -30]
    assert sorted([first.result(0)["seen"][0], second.result(0)["seen"][0]]) == [once, twice]
    assert {run.thread_id for run in worker.client.list_runs(graph="billing")} == {"bills of ann"}


def test_a_key_takes_the_result_and_sends_have_a_child_each(workers: Callable[..., LocalWorker]) -> None:
    builder = StateGraph(Order).add_node(
        "bill", child("billing", output=lambda found: {"seen": [found["total"]]})
    )
    builder.add_conditional_edges(
        START, lambda state: [Send("bill", {"order": n}) for n in range(5)], ["bill"]
    )
    builder.add_node("last", child("billing", input=lambda state: {"order": 9}, output="customer"))
    graph = builder.add_edge("bill", "last").compile(name="many")
    worker = workers(graph, billing(price))
    run = worker.client.submit("many", {})
    worker.run_through_timers()
    assert run.result(0)["seen"] == [0, 10, 20, 30, 40]
    assert run.result(0)["customer"] == {"order": 9, "total": 90, "log": ["priced", "closed"]}
    assert len([*worker.client.list_runs(graph="billing")]) == 6


def test_a_child_that_is_not_waited_for(workers: Callable[..., LocalWorker]) -> None:
    node = StateGraph(Order).as_node("billing", wait=False, output=lambda ids: {"seen": [ids]})
    worker = workers(shop(node), billing(price))
    run = worker.client.submit("shop", {"order": 7})
    worker.run_until_idle()
    [ids, _] = run.result(0)["seen"]
    found = child_of(worker)
    assert ids == {"thread_id": found.thread_id, "run_id": found.run_id}
    assert found.status == "succeeded"
    assert [it.outcome for it in task_of(worker, run.run_id).attempts] == []


def test_the_childs_failure_fails_the_node_and_a_replay_replays_it(
    workers: Callable[..., LocalWorker],
) -> None:
    broken = [True]
    calls: list[str] = []

    def node(state: Bill) -> Bill:
        calls.append("price")
        if broken:
            raise ValueError("no price")
        return price(state)

    worker = workers(shop(child("billing")), billing(node))
    run = worker.client.submit("shop", {"order": 7})
    worker.run_until_idle()
    with pytest.raises(
        RunFailedError, match=r"child run .* of graph 'billing' .* ValueError in node 'price'.*no price"
    ):
        run.result(0)
    failed = child_of(worker)
    worker.client.replay(run.thread_id)
    worker.run_until_idle()
    assert len(calls) == 2, "the parent's replay has replayed its child"
    assert run.status() == "failed"
    broken.clear()
    worker.client.replay(run.thread_id)
    worker.run_until_idle()
    assert run.result(0)["total"] == 70
    assert (child_of(worker).run_id, child_of(worker).replays) == (failed.run_id, 2)


def test_the_nodes_retry_policy_replays_the_child(workers: Callable[..., LocalWorker]) -> None:
    calls: list[str] = []

    def node(state: Bill) -> Bill:
        calls.append("price")
        if len(calls) < 3:
            raise ValueError("no price")
        return price(state)

    policy = Fixed(interval=30, max_retries=5, retry_on=RunFailedError)
    worker = workers(shop(child("billing"), retry_policy=policy), billing(node))
    run = worker.client.submit("shop", {"order": 7})
    assert worker.run_through_timers() == pytest.approx(60, abs=5)
    assert run.result(0)["total"] == 70
    assert (len(calls), child_of(worker).replays) == (3, 2)


def test_a_cancelled_child_fails_the_node_and_a_replay_starts_another(
    workers: Callable[..., LocalWorker],
) -> None:
    worker = workers(shop(child("billing")), billing(lambda state: {"total": interrupt("how much?")}))
    run = worker.client.submit("shop", {"order": 7})
    worker.run_until_idle()
    first = child_of(worker)
    worker.client.cancel(first.thread_id, reason="too dear")
    worker.run_until_idle()
    with pytest.raises(RunFailedError, match="was cancelled: too dear"):
        run.result(0)
    worker.client.replay(run.thread_id)
    worker.run_until_idle()
    second = next(it for it in worker.client.list_runs(graph="billing") if it.run_id != first.run_id)
    worker.client.resume(second.thread_id, 5)
    worker.run_until_idle()
    assert run.result(0)["total"] == 5


def test_an_interrupted_child_leaves_the_parent_waiting(workers: Callable[..., LocalWorker]) -> None:
    worker = workers(shop(child("billing")), billing(lambda state: {"total": interrupt("how much?")}))
    run = worker.client.submit("shop", {"order": 7})
    worker.run_until_idle()
    worker.clock.tick(3 * 3600)
    worker.run_until_idle()
    found = child_of(worker)
    assert (found.status, run.status()) == ("interrupted", "running")
    explained = worker.client.explain(run.thread_id)
    [wait] = [wait for wait in explained.waits if wait.kind == "child"]
    assert "'billing'" in wait.detail
    assert "how much?" in wait.detail
    assert wait.command.startswith(f"petiole run resume {found.thread_id} --id")
    assert "how much?" in explained.summary
    before = worker.clock()
    worker.client.resume(found.thread_id, 3)
    worker.run_until_idle()
    assert run.result(0)["total"] == 3
    assert worker.clock() == before


def test_cancelling_the_parent_cancels_what_it_waits_for(workers: Callable[..., LocalWorker]) -> None:
    middle = (
        StateGraph(Order).add_node("below", child("billing")).add_edge(START, "below").compile(name="middle")
    )
    asking = billing(lambda state: {"total": interrupt("how much?")})
    beside = child("other", wait=False)
    other = billing(lambda state: {"total": interrupt("?")}, name="other")
    builder = StateGraph(Order).add_node("bill", child("middle")).add_node("beside", beside)
    graph = builder.add_edge(START, "bill").add_edge(START, "beside").compile(name="shop")
    worker = workers(graph, middle, asking, other)
    run = worker.client.submit("shop", {"order": 7})
    worker.run_until_idle()
    worker.client.cancel(run.thread_id, reason="enough")
    statuses = {it.graph: it.status for it in worker.client.list_runs()}
    assert statuses == {
        "shop": "cancelled",
        "middle": "cancelled",
        "billing": "cancelled",
        "other": "interrupted",
    }
    with pytest.raises(RunCancelledError, match=r"its parent, run .* was cancelled: .*enough"):
        worker.client.handle(child_of(worker).run_id).result(0)


def test_cancelled_while_it_submits(workers: Callable[..., LocalWorker]) -> None:
    worker = workers(shop(child("billing")), billing(price))
    run = worker.client.submit("shop", {"order": 7})
    worker.at("submit.before", lambda: worker.client.cancel(run.thread_id), node="bill")
    worker.run_until_idle()
    assert child_of(worker).status == "cancelled", "it was submitted after the cancel had looked for it"


def test_parents_and_children_are_named(workers: Callable[..., LocalWorker]) -> None:
    from petiole import documents

    worker = workers(shop(child("billing")), billing(price))
    run = worker.client.submit("shop", {"order": 7})
    worker.run_until_idle()
    found = child_of(worker)
    task = task_of(worker, run.run_id)
    parent = {
        "thread_id": run.thread_id,
        "run_id": run.run_id,
        "task_id": task.task_id,
        "node": "bill",
        "waits": True,
    }
    assert worker.client.value(found.thread_id, found.metadata) == {"parent": parent}
    assert documents.family_document(found, worker.client.tasks(found.run_id)) == {
        "parent": parent,
        "children": [],
    }
    assert documents.family_document(run.run, worker.client.tasks(run.run_id)) == {
        "parent": None,
        "children": [
            {"thread_id": found.thread_id, "run_id": found.run_id, "graph": "billing", "waited": True}
        ],
    }


def test_a_child_on_its_parents_own_thread_is_refused(workers: Callable[..., LocalWorker]) -> None:
    worker = workers(shop(child("billing", thread=lambda state: "mine")), billing(price))
    run = worker.client.submit("shop", {"order": 7}, thread_id="mine")
    worker.run_until_idle()
    with pytest.raises(RunFailedError, match="waits for this very node"):
        run.result(0)


def test_a_graph_that_is_given_itself_is_served_along() -> None:
    graph = shop(billing(price).as_node())
    with LocalWorker([graph]) as worker:
        run = worker.client.submit("shop", {"order": 7})
        worker.run_until_idle()
        assert run.result(0)["total"] == 70


@pytest.mark.parametrize(
    ("node", "fault"),
    [
        (child(""), "give its name"),
        (child("x", thread="fixed"), "thread is 'fixed'"),  # type: ignore[arg-type]
        (child("x", output="gone"), "no key of the state"),
    ],
)
def test_faults_are_told_when_the_node_is_added(node: Any, fault: str) -> None:
    with pytest.raises(GraphValidationError, match=fault):
        StateGraph(Order).add_node("bill", node)


# ---------------------------------------------------------------- in process


@pytest.fixture(params=["none", "memory", "sqlite"])
def checkpointer(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return {"none": None, "memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/s.db"}[request.param]


CONFIG = {"configurable": {"thread_id": "parent"}}


def in_process(node: Any, checkpointer: str | None) -> CompiledGraph:
    builder = StateGraph(Order).add_node("bill", node).add_edge(START, "bill")
    return builder.compile(checkpointer, name="shop here")


def test_in_process_the_child_runs_within_its_node(checkpointer: str | None) -> None:
    below = billing(price, "billing here")
    for node in (child("billing here"), below.as_node()):
        graph = in_process(node, checkpointer)
        assert graph.invoke({"order": 7}, CONFIG)["total"] == 70
    assert below.name == "billing here"


def test_in_process_a_graph_must_be_known() -> None:
    with pytest.raises(Exception, match="'nowhere' was not compiled in this process"):
        in_process(child("nowhere"), None).invoke({"order": 7})


def test_in_process_a_failed_child_is_replayed_with_its_parent(tmp_path: Path) -> None:
    calls: list[str] = []

    def node(state: Bill) -> Bill:
        calls.append("price")
        if len(calls) == 1:
            raise ValueError("no price")
        return price(state)

    below = billing(node)
    graph = in_process(below.as_node(thread=lambda state: "child"), f"sqlite:///{tmp_path}/s.db")
    with pytest.raises(RunFailedError, match="no price") as raised:
        graph.invoke({"order": 7}, CONFIG)
    assert isinstance(raised.value.__cause__, ValueError)
    assert graph.invoke(None, CONFIG)["total"] == 70
    store: Any = graph.checkpointer
    assert store.newest_run("child").replays == 1


def test_in_process_an_interrupted_child_leaves_its_parent(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/s.db"

    def ask(state: Bill) -> Any:
        return {"total": interrupt("how much?")}

    builder = StateGraph(Bill).add_node("price", ask).add_edge(START, "price")
    below = builder.compile(store, name="asking here")
    graph = in_process(below.as_node(thread=lambda state: "child"), store)
    for _ in range(2):
        with pytest.raises(RunInterruptedError, match="on thread 'child', which is interrupted"):
            graph.invoke({"order": 7} if not _ else None, CONFIG)
    below.invoke(Command(resume=4), {"configurable": {"thread_id": "child"}})
    assert graph.invoke(None, CONFIG)["total"] == 4


def test_in_process_a_child_that_is_not_waited_for_runs_all_the_same(tmp_path: Path) -> None:
    def node(state: Bill) -> Bill:
        raise ValueError("no price")

    below = billing(node)
    graph = in_process(below.as_node(wait=False, thread=lambda state: "child"), f"sqlite:///{tmp_path}/s.db")
    assert graph.invoke({"order": 7}, CONFIG) == {"order": 7, "seen": []}
    store: Any = graph.checkpointer
    assert store.newest_run("child").status == "failed"


def test_in_process_children_of_one_thread_run_one_after_the_other(checkpointer: str | None) -> None:
    below = billing(price)
    node = below.as_node(
        thread=lambda state: "one", output=lambda found: {"seen": [(found["order"], len(found["log"]))]}
    )
    builder = StateGraph(Order).add_node("bill", node)
    builder.add_conditional_edges(
        START, lambda state: [Send("bill", {"order": n}) for n in range(4)], ["bill"]
    )
    found = builder.compile(checkpointer, name="many").invoke({}, CONFIG)["seen"]
    assert [order for order, _ in found] == [0, 1, 2, 3]
    assert sorted(length for _, length in found) == [2, 4, 6, 8]
