"""``/metrics``: the ledger's figures, the server's requests, and who may read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from petiole import Client, Settings
from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.api.metrics.ledger import LedgerMetrics
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Worker


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.clock = lambda: 1_000_000.0
    return store


@pytest.fixture
def client(store: MemoryStore) -> Client:
    return Client(store, settings=Settings(broker="memory://"))


@pytest.fixture
def server(client: Client) -> Iterator[TestClient]:
    with TestClient(create_app(client), raise_server_exceptions=False) as found:
        yield found


def figures(server: TestClient, **options: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = server.get("/metrics", **options)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_runs_queues_and_workers_are_counted(store: MemoryStore, client: Client, server: TestClient) -> None:
    client.submit("shop.order", {"n": 1}, thread_id="a")
    client.submit("shop.order", {"n": 1}, thread_id="b")
    client.cancel("b")
    stats = {"committed": 9.0, "refused": 2.0, "busy": 3.0, "lost_slots": 1.0}
    store.beat(Worker(worker_id="1", name="w@host", concurrency=4, started_at=1.0, stats={"committed": 70.0}))
    store.release("1", final=True)
    store.beat(Worker(worker_id="2", name="w@host", concurrency=4, started_at=2.0, stats=stats))
    store.clock = lambda: 1_000_030.0

    found = figures(server)

    assert found[key("petiole_store_up")] == 1
    assert found[key("petiole_runs", status="queued")] == 1
    assert found[key("petiole_runs", status="cancelled")] == 1
    assert found[key("petiole_runs", status="failed")] == 0
    where = {"queue": "petiole", "priority": "default"}
    assert found[key("petiole_queue_tasks", **where)] == 1
    assert found[key("petiole_queue_oldest_seconds", **where)] == 30
    assert found[key("petiole_workers", status="alive")] == 1
    assert found[key("petiole_workers", status="stopped")] == 1
    assert found[key("petiole_worker_slots", worker="w@host", state="lost")] == 1
    assert found[key("petiole_worker_tasks_total", worker="w@host", outcome="committed")] == 9
    assert found[key("petiole_worker_tasks_total", worker="w@host", outcome="fenced")] == 2


def test_requests_are_counted_by_the_template_of_their_route(server: TestClient) -> None:
    server.delete("/api/v1/keys/0123456789ab")
    server.get("/nowhere/1")
    server.get("/nowhere/2")

    found = figures(server)

    count = "petiole_http_requests_total"
    assert found[key(count, method="DELETE", route="/api/v1/keys/{key_id}", status="404")] == 1
    assert found[key(count, method="GET", route="(none)", status="404")] == 2
    timed = key("petiole_http_request_seconds_count", method="DELETE", route="/api/v1/keys/{key_id}")
    assert found[timed] == 1
    assert not any("0123456789ab" in value for _, labels in found for _, value in labels)


def test_a_method_of_ones_own_making_makes_no_series(server: TestClient) -> None:
    server.request("BREW", "/livez")
    methods = {value for _, labels in figures(server) for name, value in labels if name == "method"}
    assert "other" in methods
    assert "BREW" not in methods


def test_a_store_that_is_away_is_a_figure_too(
    store: MemoryStore, server: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(store, "_backlogs", away)
    found = figures(server)
    assert found[key("petiole_store_up")] == 0
    assert not [name for name, _ in found if name == "petiole_runs"]


def test_the_store_is_not_read_for_every_scrape(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = LedgerMetrics(client, fresh=3600)
    first = [*metrics.collect()]
    monkeypatch.setattr(client, "count_runs", lambda: pytest.fail("it was read again"))
    assert [*metrics.collect()] == first


@pytest.mark.parametrize(
    ("scopes", "limits", "status"),
    [
        (["read"], {}, 200),
        (["submit"], {}, 200),
        (["read"], {"graphs": ["shop.order"]}, 403),
        (["read"], {"namespaces": ["acme"]}, 403),
    ],
)
def test_figures_of_all_are_for_those_who_may_read_all(
    store: MemoryStore, client: Client, scopes: list[str], limits: dict[str, list[str]], status: int
) -> None:
    del store.clock  # keys are of now
    token = Keys(store).create("scraper", scopes, **limits)[1]
    with TestClient(create_app(client, authenticated=True)) as closed:
        assert closed.get("/metrics").status_code == 401
        answer = closed.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == status


def test_a_setting_opens_them_to_everybody(store: MemoryStore) -> None:
    client = Client(store, settings=Settings(broker="memory://", metrics_public=True))
    with TestClient(create_app(client, authenticated=True)) as closed:
        assert closed.get("/metrics").status_code == 200
        assert closed.get("/api/v1/keys").status_code == 401
