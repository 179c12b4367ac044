"""Submitting: ids, idempotency, refusals, what is stored."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from petiole import (
    Client,
    IdempotencyError,
    InputError,
    InvalidUpdateError,
    RunFailedError,
    SerializationError,
    Settings,
    ThreadBusyError,
)
from petiole_stores.memory import MemoryStore
from petiole_stores.records import START_PATH
from petiole_workers.hop import RunConfig
from petiole_workers.submission import request_digest
from tests.unit.driving import counting, drive


def test_a_run_of_a_named_graph_is_stored_with_its_first_task(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1}, thread_id="t", tags=["a", "b", "a"], metadata={"who": "me"})
    run = store.get_run(handle.run_id)
    assert run is not None
    assert (run.thread_id, run.graph, run.status, run.tags) == ("t", "counting", "queued", ["a", "b"])
    assert msgspec.json.decode(run.input or "") == {"n": 1}
    assert msgspec.json.decode(run.metadata) == {"who": "me"}
    [task] = store.list_tasks(handle.run_id)
    assert (task.path, task.kind, task.queue, task.status) == (START_PATH, "advance", "petiole", "ready")


def test_without_ids_each_submit_is_a_run_and_thread_of_its_own(client: Client) -> None:
    handles = [client.submit("counting", {"n": 1}) for _ in range(3)]
    assert len({handle.run_id for handle in handles}) == len({handle.thread_id for handle in handles}) == 3


def test_a_compiled_graph_brings_its_version_fingerprint_and_queue(
    client: Client, store: MemoryStore
) -> None:
    graph = counting(version="7")
    graph.queue = "numbers"
    handle = client.submit(graph, {"n": 1})
    assert (handle.run.version, handle.run.fingerprint) == ("7", graph.definition.fingerprint)
    assert store.list_tasks(handle.run_id)[0].queue == "numbers"


def test_an_input_that_the_graph_cannot_take_stores_nothing(client: Client, store: MemoryStore) -> None:
    with pytest.raises(InvalidUpdateError):
        client.submit(counting(), 5)
    with pytest.raises(SerializationError, match="value"):
        client.submit("counting", {"n": object()})
    assert store.list_runs().runs == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input": None}, "replay"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"tags": "one"}, "list"),
        ({"tags": ["\n"]}, "printable"),
        ({"at": datetime(2030, 1, 1)}, "time zone"),
        ({"deadline": datetime(2030, 1, 1)}, "time zone"),
        ({"deadline": 0}, "above 0"),
        ({"at": timedelta(seconds=-1)}, "delay"),
        ({"durability": "sometimes"}, "interval:SECONDS"),
        ({"consistency": "weak"}, "strong, eventual"),
        ({"durability": "sync", "consistency": "strong"}, "one of them"),
        ({"recursion_limit": 0}, "recursion_limit"),
        ({"recursion_limit": True}, "recursion_limit"),
        ({"if_busy": "wait"}, "enqueue"),
        ({"thread_id": ""}, "thread_id"),
        ({"thread_id": "x" * 300}, "thread_id"),
    ],
)
def test_wrong_arguments_are_named(client: Client, options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        client.submit("counting", **({"input": {"n": 1}} | options))  # type: ignore[arg-type]


def test_the_recursion_limit_reaches_the_engine(client: Client) -> None:
    handle = client.submit("counting", {"n": 1}, recursion_limit=3)
    assert msgspec.json.decode(handle.run.config, type=RunConfig).recursion_limit == 3
    other = client.submit("counting", {"n": 1})
    assert msgspec.json.decode(other.run.config, type=RunConfig) == RunConfig()


def test_the_same_key_gives_the_same_run(client: Client, store: MemoryStore) -> None:
    first = client.submit("counting", {"n": 1, "trail": []}, idempotency_key="k")
    drive(store, counting())
    again = client.submit("counting", {"trail": [], "n": 1}, idempotency_key="k")
    assert (again.run_id, again.thread_id) == (first.run_id, first.thread_id)
    assert len(store.list_runs().runs) == 1


def test_the_same_key_of_another_graph_is_another_run(client: Client) -> None:
    assert (
        client.submit("counting", {"n": 1}, idempotency_key="k").run_id
        != client.submit("other", {"n": 1}, idempotency_key="k").run_id
    )


@pytest.mark.parametrize("other", [{"input": {"n": 2}}, {"thread_id": "elsewhere"}])
def test_one_key_for_two_requests_is_refused_naming_both(client: Client, other: dict[str, object]) -> None:
    first = client.submit("counting", {"n": 1}, idempotency_key="k")
    with pytest.raises(IdempotencyError) as caught:
        client.submit("counting", **({"input": {"n": 1}, "idempotency_key": "k"} | other))  # type: ignore[arg-type]
    message = str(caught.value)
    assert first.run_id in message
    assert "'k'" in message
    assert '{"n":1}' in message
    assert str(other.get("thread_id", '{"n":2}')) in message


def test_a_busy_thread_is_refused_naming_the_run(client: Client) -> None:
    first = client.submit("counting", {"n": 1}, thread_id="t")
    with pytest.raises(ThreadBusyError, match=first.run_id) as caught:
        client.submit("counting", {"n": 2}, thread_id="t")
    assert "enqueue" in str(caught.value)


def test_an_enqueued_run_follows(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    second = client.submit("counting", {"n": 5}, thread_id="t", if_busy="enqueue")
    drive(store, counting())
    assert second.result(0)["n"] == 12


@pytest.mark.parametrize("make", [lambda at: at, lambda at: at.timestamp()])
def test_a_delayed_run_waits(client: Client, store: MemoryStore, make: object) -> None:
    now = datetime.now(UTC)
    store.clock = now.timestamp
    handle = client.submit("counting", {"n": 1}, at=make(now + timedelta(hours=1)))  # type: ignore[operator]
    drive(store, counting())
    assert handle.status() == "waiting"
    store.clock = (now + timedelta(hours=2)).timestamp
    store.sweep(observed=0.0)
    drive(store, counting())
    assert handle.status() == "succeeded"


@pytest.mark.parametrize(
    ("times", "stored"),
    [
        ({"at": timedelta(hours=1)}, (4600.0, None)),
        ({"at": timedelta(hours=1), "deadline": timedelta(minutes=1)}, (4600.0, 4660.0)),
        ({"deadline": 30}, (None, 1030.0)),
        ({"at": 2000.0, "deadline": 30}, (2000.0, 2030.0)),
        ({"deadline": datetime.fromtimestamp(5000, UTC)}, (None, 5000.0)),
    ],
)
def test_spans_count_from_now_by_the_clock_of_the_store(
    client: Client, store: MemoryStore, times: dict[str, object], stored: tuple[float | None, float | None]
) -> None:
    store.clock = lambda: 1000.0
    run = client.submit("counting", {"n": 1}, **times).run  # type: ignore[arg-type]
    assert (run.run_at, run.deadline) == stored


def test_a_run_that_has_not_ended_by_its_deadline_fails(client: Client, store: MemoryStore) -> None:
    store.clock = lambda: 1000.0
    handle = client.submit("counting", {"n": 1}, deadline=30)
    store.clock = lambda: 1031.0
    store.sweep(observed=0.0)
    with pytest.raises(RunFailedError, match="DeadlineExceeded"):
        handle.result(0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"durability": "interval:5"}, RunConfig(durability="interval:5")),
        ({"consistency": "strong"}, RunConfig(durability="sync")),
        ({"consistency": "eventual"}, RunConfig(durability="sync", relaxed=True)),
        ({"consistency": "session"}, RunConfig(durability="sync")),
        ({"consistency": "minimal"}, RunConfig(durability="async")),
    ],
)
def test_durability_and_consistency_reach_the_engine(
    client: Client, options: dict[str, str], expected: RunConfig
) -> None:
    handle = client.submit("counting", {"n": 1}, **options)  # type: ignore[arg-type]
    assert msgspec.json.decode(handle.run.config, type=RunConfig) == expected


@dataclass
class Basket:
    size: int


def test_a_value_of_an_unknown_class_is_refused_with_its_name(client: Client) -> None:
    with pytest.raises(SerializationError, match="Basket"):
        client.submit("counting", {"n": Basket(1)})


def test_digests_ignore_the_order_of_keys_and_see_everything_else() -> None:
    one = request_digest("g", "t", '{"a":1,"b":{"x":1,"y":2},"$order":["a","b"]}')
    assert one == request_digest("g", "t", '{"b":{"y":2,"x":1},"a":1,"$order":["b","a"]}')
    assert one != request_digest("g", "t", '{"a":1,"b":{"x":1,"y":3}}')
    assert one != request_digest("g", "u", '{"a":1,"b":{"x":1,"y":2}}')
    assert one != request_digest("h", "t", '{"a":1,"b":{"x":1,"y":2}}')


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//", "nonsense://x"])
def test_a_broker_that_is_down_is_a_warning(broker: str, caplog: pytest.LogCaptureFixture) -> None:
    class Shared(MemoryStore):
        shared = True

    with Client(Shared("memory://"), broker, settings=Settings()) as client, caplog.at_level(logging.WARNING):
        assert client.submit("counting", {"n": 1}).status() == "queued"
    assert "could not be published" in caplog.text
