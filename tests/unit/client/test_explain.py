"""What a run waits for: one scene for each kind of wait."""

from __future__ import annotations

from typing import get_args

import pytest

from petiole import END, START, Client, CompiledGraph, NotFoundError, RetryPolicy, Runtime, StateGraph
from petiole.client import Explanation, Wait
from petiole.client.explaining import WaitKind
from petiole_stores.errors import BrokerError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Offer, Worker
from tests.unit.driving import HOLDER, Count, Switch, counting, drive

NOW = 1_000_000.0


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("memory://", clock=lambda: NOW)


def kinds(found: Explanation) -> list[str]:
    return [wait.kind for wait in found.waits]


def only(found: Explanation, kind: str) -> Wait:
    [wait] = [wait for wait in found.waits if wait.kind == kind]
    return wait


def register(store: MemoryStore, **fields: object) -> None:
    defaults: dict[str, object] = {
        "worker_id": "w",
        "name": "w@host",
        "host": "host",
        "queues": ["petiole"],
        "graphs": {"counting": "/f"},
    }
    store.beat(Worker(**(defaults | fields)))  # type: ignore[arg-type]


def claim(store: MemoryStore, holder: str = "w") -> str:
    [ref] = store.due(published_before=4e9)
    store.claim(holder, "7", [(ref.task_id, "token")])
    return ref.task_id


def one_node(node: object, **options: object) -> CompiledGraph:
    graph = StateGraph(Count)
    graph.add_node("node", node, **options)  # type: ignore[arg-type]
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    return graph.compile(name="counting")


def test_no_worker_is_alive(client: Client) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    found = client.explain("t")
    assert kinds(found) == ["no_worker", "message"]
    assert found.waits[0].command == "petiole worker --graphs module:attribute"
    assert found.status == "queued"
    assert "no worker is alive" in found.summary


def test_a_published_message_that_nobody_has_taken(client: Client, store: MemoryStore) -> None:
    register(store)
    client.submit("counting", {"n": 1}, thread_id="t")
    wait = only(client.explain("t"), "message")
    assert (wait.since, wait.until) == (NOW, NOW + store.grace)


def test_no_worker_consumes_the_queue(client: Client, store: MemoryStore) -> None:
    register(store, queues=["other"])
    client.submit("counting", {"n": 1}, thread_id="t")
    found = client.explain("t")
    assert kinds(found) == ["unserved_queue", "message"]
    assert "no living worker consumes queue 'petiole'; those that live consume other" in found.summary
    assert found.waits[0].command.startswith("petiole worker --queues petiole")


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        ({"graphs": {"another": "/f"}}, "with w@host, graph 'counting' is not served"),
        (
            {"graphs": {"counting": "2/f"}, "offers": {"counting": Offer(version="2", policy="pin")}},
            "with w@host, graph 'counting' is served in version '2' alone, not in '1'",
        ),
    ],
)
def test_no_worker_on_the_queue_serves_the_graph_at_its_version(
    client: Client, store: MemoryStore, worker: dict[str, object], words: str
) -> None:
    register(store, **worker)
    client.submit("counting", {"n": 1}, thread_id="t", version="1")
    found = client.explain("t")
    assert kinds(found) == ["unserved_graph", "message"]
    assert "of graph 'counting' in version '1'" in found.summary
    assert words in found.summary


def test_a_node_that_a_worker_runs(client: Client, store: MemoryStore) -> None:
    register(store)
    client.submit("counting", {"n": 1}, thread_id="t")
    claim(store)
    found = client.explain("t")
    assert kinds(found) == ["claimed"]
    assert "start is run by w@host (slot 7)" in found.summary
    assert found.waits[0].until == NOW + 15
    assert found.superstep is not None
    assert (found.superstep.total, found.superstep.open) == (1, 1)


def test_a_node_whose_worker_is_silent(client: Client, store: MemoryStore) -> None:
    register(store)
    client.submit("counting", {"n": 1}, thread_id="t")
    claim(store)
    store.clock = lambda: NOW + 60
    register(store, worker_id="w2", name="w2@host")
    found = client.explain("t")
    assert kinds(found) == ["lost"]
    assert (found.waits[0].since, found.waits[0].until) == (NOW, NOW + 15)
    store.sweep()
    assert "was run before by a worker that was lost" in client.explain("t").summary


def test_a_node_that_is_to_be_tried_again(client: Client, store: MemoryStore) -> None:
    def fail(state: Count) -> Count:
        raise ConnectionError("the bank is down")

    client.submit("counting", {"n": 1}, thread_id="t")
    drive(
        store, one_node(fail, retry_policy=RetryPolicy(initial_interval=600, max_interval=600, jitter=False))
    )
    found = client.explain("t")
    assert kinds(found) == ["retry"]
    assert (
        "node will be tried again after ConnectionError: the bank is down (1 failure so far)" in found.summary
    )
    assert found.waits[0].until == pytest.approx(NOW + 600)


def test_a_node_that_sleeps(client: Client, store: MemoryStore) -> None:
    def sleep(state: Count, runtime: Runtime) -> Count:
        runtime.sleep(86400)
        return {}

    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, one_node(sleep))
    found = client.explain("t")
    assert kinds(found) == ["timer"]
    assert found.waits[0].until == pytest.approx(NOW + 86400, abs=1)


def test_a_run_that_is_to_start_later_and_has_a_deadline(client: Client, store: MemoryStore) -> None:
    register(store)
    client.submit("counting", {"n": 1}, thread_id="t", at=NOW + 60, deadline=5)
    found = client.explain("t")
    assert kinds(found) == ["start", "deadline"]
    assert [wait.until for wait in found.waits] == [NOW + 60, NOW + 65]


def test_a_run_behind_another(client: Client) -> None:
    first = client.submit("counting", {"n": 1}, thread_id="my thread")
    client.submit("counting", {"n": 1}, thread_id="my thread", if_busy="enqueue")
    found = client.explain("my thread")
    assert kinds(found) == ["behind"]
    assert found.waits[0].command == f"petiole run explain 'my thread' --run {first.run_id}"
    assert kinds(client.explain("my thread", run=first.run_id)) == ["no_worker", "message"]


def test_an_interrupted_run(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(interrupt_before=["double"]))
    found = client.explain("t")
    assert [(wait.kind, wait.subject) for wait in found.waits] == [
        ("interrupt", "double"),
        ("interrupt", "note"),
    ]
    assert found.waits[0].command == "petiole run resume t"


def test_a_paused_run_with_a_node_that_still_runs(client: Client, store: MemoryStore) -> None:
    register(store)
    client.submit("counting", {"n": 1}, thread_id="t")
    claim(store)
    client.pause("t", reason="maintenance")
    found = client.explain("t")
    assert kinds(found) == ["paused", "claimed"]
    assert found.waits[0].detail == "the run is paused: maintenance"
    assert found.waits[0].command == "petiole run unpause t"


@pytest.mark.parametrize(
    ("kind", "command"),
    [("Unserved", "petiole worker --graphs"), ("Corruption", "petiole db verify --repair")],
)
def test_a_blocked_run(client: Client, store: MemoryStore, kind: str, command: str) -> None:
    register(store)
    handle = client.submit("counting", {"n": 1}, thread_id="t")
    store.block([handle.run_id], kind=kind, reason="because")
    found = client.explain("t")
    assert kinds(found) == ["blocked"]
    assert found.waits[0].detail == "the run is blocked: because"
    assert found.waits[0].command.startswith(command)


def test_a_failed_run_names_its_dead_letters(client: Client, store: MemoryStore) -> None:
    switch = Switch()
    switch.broken = True
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting(switch))
    found = client.explain("t")
    assert kinds(found) == ["dead_letter"]
    assert "double failed after attempt 1: ValueError: double is broken" in found.summary
    assert found.waits[0].command == "petiole run replay t"


def test_a_poison_task_says_how_often_it_killed(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    for _ in range(store.max_crashes):
        register(store)
        claim(store)
        store.release("w", crashed=True)
    assert "WorkerLost: its worker process died 5 times" in client.explain("t").summary


def test_runs_that_have_ended_wait_for_nothing(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting())
    assert client.explain("t").waits == []
    assert "has succeeded: it waits for nothing" in client.explain("t").summary
    client.submit("counting", {"n": 1}, thread_id="u")
    client.cancel("u", reason="enough")
    assert client.explain("u").summary.endswith("was cancelled: enough")
    with pytest.raises(NotFoundError):
        client.explain("nobody")


def test_the_broker_is_asked_for_its_messages(client: Client, store: MemoryStore) -> None:
    from petiole.client.explaining import explain

    register(store, concurrency=4)
    run = client.submit("counting", {"n": 1}, thread_id="t").run
    found = explain(store, run, now=NOW, depth=lambda queue, priority: 41)
    assert kinds(found) == ["message", "backlog"]
    assert only(found, "backlog").detail.startswith(
        "41 messages of priority default wait in the broker for 4 slots on 1 worker"
    )
    assert kinds(explain(store, run, now=NOW, depth=lambda queue, priority: 0)) == ["message"]

    def away(queue: str, priority: str) -> int:
        raise BrokerError("the broker redis://x cannot be reached")

    found = explain(store, run, now=NOW, depth=away)
    assert only(found, "broker").detail.startswith("the broker redis://x cannot be reached; nothing is lost")


def test_many_of_one_kind_are_told_as_one(client: Client, store: MemoryStore) -> None:
    from petiole import Send

    def spread(state: Count) -> list[Send]:
        return [Send("node", {"n": number}) for number in range(30)]

    graph = StateGraph(Count)
    graph.add_node("node", lambda state: {})
    graph.add_conditional_edges(START, spread, ["node"])
    graph.add_edge("node", END)
    client.submit("counting", {"n": 1}, thread_id="t")
    compiled = graph.compile(name="counting")
    drive(store, compiled, until=lambda: len(client.tasks("t")) > 1)
    register(store, worker_id=HOLDER)
    found = client.explain("t")
    assert len(found.waits) == 11
    assert found.waits[-1].subject == "20 more"
    assert found.superstep is not None
    assert (found.superstep.total, found.superstep.open) == (30, 30)


def test_every_kind_is_documented() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    assert [kind for kind in get_args(WaitKind) if f"| `{kind}` |" not in page] == []
