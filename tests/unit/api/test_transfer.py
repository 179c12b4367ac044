"""A thread as a file: out of one store, into another, and on from where it stood."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TypedDict

import pytest

from petiole import START, Send, StateGraph
from petiole.api.access import Principal
from petiole.client import Client
from petiole.client.carrying import Imported
from petiole.testing import LocalWorker
from petiole_stores.codec import AesGcmCodec
from petiole_stores.errors import ConflictError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from tests.unit.api.asking import MOMENT, Price, asking
from tests.unit.api.serving import API, serving
from tests.unit.driving import Switch, counting


class Counted(TypedDict):
    n: int


def encrypted() -> Store:
    store = MemoryStore()
    store.serde = Serde(codec=AesGcmCodec({"k": bytes(32)}))
    return store


def asked(client: Client, thread_id: str) -> int:
    [question] = client.interrupts(thread_id)
    ok: int = question.value["ok"]
    return ok


@pytest.mark.parametrize(("origin", "target"), [(MemoryStore, encrypted), (encrypted, MemoryStore)])
def test_typed_values_survive_and_the_run_goes_on(
    origin: Callable[[], Store], target: Callable[[], Store]
) -> None:
    with LocalWorker([asking()], origin()) as worker:
        worker.client.submit("asking", {"n": 1, "price": Price(9)}, thread_id="t")
        worker.run_until_idle()
        text = worker.client.export_thread("t")
    with LocalWorker([asking()], target()) as worker:
        made = worker.client.import_thread(text)
        assert worker.client.state(made.thread_id) == {
            "n": 1,
            "price": Price(100),
            "due": MOMENT,
            "seen": {"a"},
        }
        assert worker.client.get_run(made.thread_id).status == "paused"
        worker.run_until_idle()
        assert worker.client.interrupts(made.thread_id) == []
        worker.client.unpause(made.thread_id)
        worker.run_through_timers()
        assert asked(worker.client, made.thread_id) == 100


@pytest.mark.parametrize(("origin", "target"), [(MemoryStore, encrypted), (encrypted, MemoryStore)])
def test_timeouts_of_planned_tasks_survive(origin: Callable[[], Store], target: Callable[[], Store]) -> None:
    async def slow(seconds: float) -> None:
        await asyncio.sleep(seconds)

    builder = StateGraph(Counted).add_node("slow", slow)
    sends = [Send("slow", 30.0, timeout=0.05), Send("slow", 0.1)]
    graph = builder.add_conditional_edges(START, lambda state: sends).compile(
        name="limited", interrupt_before=["slow"]
    )
    with LocalWorker([graph], origin()) as worker:
        worker.client.submit("limited", {"n": 1}, thread_id="t")
        worker.run_until_idle()
        text = worker.client.export_thread("t")
    with LocalWorker([graph], target()) as worker:
        made = worker.client.import_thread(text)
        worker.client.unpause(made.thread_id)
        worker.run_through_timers()
        run = worker.client.get_run(made.thread_id)
        assert run.status == "failed", run
        assert run.error is not None
        assert "ran longer than its timeout of 0.05 s" in run.error


def failed(switch: Switch) -> bytes:
    switch.broken = True
    with LocalWorker([counting(switch)]) as worker:
        worker.client.submit("counting", {"n": 1}, thread_id="t", tags=["web"])
        worker.run_until_idle()
        return worker.client.export_thread("t")


def test_a_failed_run_is_run_again_elsewhere() -> None:
    switch = Switch()
    text = failed(switch)
    switch.broken = False
    with LocalWorker([counting(switch)]) as worker:
        made = worker.client.import_thread(text, thread_id="mine")
        assert made.thread_id == "mine"
        run = worker.client.get_run("mine")
        assert (run.tags, json.loads(run.metadata)["import_of"]) == (["web"], json.loads(text)["run_id"])
        before = switch.calls.count("add")
        worker.client.unpause("mine")
        worker.run_through_timers()
        assert worker.client.get_run("mine").status == "succeeded"
        assert worker.client.state("mine")["n"] == 4
        assert switch.calls.count("add") == before
        with pytest.raises(ConflictError, match="mine"):
            worker.client.import_thread(text, thread_id="mine")


def test_a_run_that_had_succeeded_begins_anew_and_one_that_had_not_begun_begins() -> None:
    with LocalWorker([counting()]) as worker:
        client = worker.client
        client.submit("counting", {"n": 1}, thread_id="new")
        unbegun = client.export_thread("new")
        worker.run_until_idle()
        done = client.export_thread("new")
        imported: list[Imported] = []
        for text in (unbegun, done):
            made = client.import_thread(text)
            imported.append(made)
            client.unpause(made.thread_id)
        worker.run_through_timers()
        assert [client.state(made.thread_id)["n"] for made in imported] == [4, 4]
        assert [client.get_run(made.thread_id).status for made in imported] == ["succeeded", "succeeded"]


def test_a_file_that_was_changed_is_refused() -> None:
    text = failed(Switch())
    with LocalWorker([counting()]) as worker:
        for wrong in (
            b"",
            b"{}",
            text[:-20],
            text.replace(b'"web"', b'"wet"'),
            text.replace(b'"version": 1', b'"version": 2', 1),
        ):
            with pytest.raises(InputError):
                worker.client.import_thread(wrong)
        assert [*worker.client.list_runs()] == []


def test_over_http() -> None:
    switch = Switch()
    text = failed(switch)
    with serving(counting(switch), store=encrypted()) as served:
        answer = served.http.post(f"{API}/runs/import", content=text)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert answer.headers["location"] == f"/api/v1/runs/{made['run_id']}"
        again = served.http.get(f"{API}/runs/{made['run_id']}/export")
        assert again.json()["thread_id"] == made["thread_id"]
        served.refused("POST", "/runs/import", 422, content=b"[]")
        served.principal = Principal(name="key:1", scopes=frozenset({"operate"}))
        assert "admin" in served.refused("GET", f"/runs/{made['run_id']}/export", 403)
        served.principal = Principal(name="key:1", scopes=frozenset({"operate"}), graphs=("asking",))
        served.refused("POST", "/runs/import", 404, content=text)
