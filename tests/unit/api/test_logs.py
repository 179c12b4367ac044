"""Logs over HTTP: pages, filters, who may read them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from petiole.api.access import Principal
from tests.unit.api.serving import Served, serving
from tests.unit.chatty import NASTY, chatty


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(chatty()) as made:
        yield made


@pytest.fixture
def run_id(served: Served) -> str:
    body = {"graph": "chatty", "input": {"n": 7}, "thread_id": "acme:1"}
    found: str = served.post("/runs", body)["run_id"]
    served.work()
    return found


def test_pages_filters_and_what_is_new(served: Served, run_id: str) -> None:
    path = f"/runs/{run_id}/logs"
    whole = served.get(path)
    assert [it["message"] for it in whole["items"]] == [
        "charging 7 cents",
        "refused",
        "charging 7 cents",
        NASTY,
    ]
    assert whole["next"] is None
    assert served.get(path, cursor=whole["after"])["items"] == []
    first = served.get(path, limit=3)
    assert served.get(path, cursor=first["next"])["items"] == whole["items"][3:]
    one = whole["items"][1]
    assert (one["level"], one["severity"], one["attempt"], one["cut"]) == ("ERROR", 40, 1, False)
    assert "ConnectionError" in one["exception"]
    assert served.get(path, node="ship")["items"] == whole["items"][3:]
    assert served.get(path, task_id=one["task_id"])["items"] == whole["items"][:3]
    assert served.get(path, level="WARNING")["items"] == [one, whole["items"][3]]


def test_what_makes_no_sense_is_refused(served: Served, run_id: str) -> None:
    path = f"/runs/{run_id}/logs"
    assert "limit" in served.refused("GET", path, 422, params={"limit": 0})
    assert "level" in served.refused("GET", path, 422, params={"level": "loud"})
    assert "cursor" in served.refused("GET", path, 422, params={"cursor": "x"})
    served.refused("GET", "/runs/nothing/logs", 404)


def test_only_who_may_read_the_run_reads_its_logs(served: Served, run_id: str) -> None:
    path = f"/runs/{run_id}/logs"
    for seen, limits in (
        (True, {"graphs": ("chatty",), "namespaces": ("acme",)}),
        (False, {"graphs": ("other",)}),
        (False, {"namespaces": ("other",)}),
    ):
        served.principal = Principal(name="key:1", scopes=frozenset({"read"}), **limits)  # type: ignore[arg-type]
        if seen:
            assert len(served.get(path)["items"]) == 4
        else:
            served.refused("GET", path, 404)
    served.principal = Principal(name="key:2", scopes=frozenset())
    served.refused("GET", path, 403)


def test_the_document_has_an_example(served: Served) -> None:
    document = served.get("/openapi.json")
    operation = document["paths"]["/api/v1/runs/{run_id}/logs"]["get"]
    assert operation["operationId"] == "listLogs"
    [example] = document["components"]["schemas"]["LogPageOut"]["examples"]
    assert example["items"][0]["level"] == "WARNING"
