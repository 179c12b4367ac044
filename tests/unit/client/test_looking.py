"""Reading: runs, state, history, workers; and the async face."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypedDict

import pytest

from petiole import END, START, Client, NotFoundError, RunTimeoutError, Settings, StateGraph, UnfitError
from petiole.client import listing as module
from petiole_stores.memory import MemoryStore
from tests.unit.driving import HOLDER, counting, drive


def test_a_run_is_found_by_its_id_and_by_its_thread(client: Client) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    newest = client.submit("counting", {"n": 1}, thread_id="t", if_busy="enqueue")
    assert client.get_run("t").run_id == client.handle("t").run_id == newest.run_id
    assert client.get_run(newest.run_id).thread_id == "t"
    with pytest.raises(NotFoundError, match="'nobody'"):
        client.get_run("nobody")


def test_listing_reads_page_after_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    made = [client.submit("counting", {"n": 1}, tags=["odd"] if n % 2 else []).run_id for n in range(10)]
    assert [run.run_id for run in client.list_runs()] == made[::-1]
    assert [run.run_id for run in client.list_runs(tag="odd")] == made[1::2][::-1]
    assert [*client.list_runs(status="failed")] == []
    assert [*client.list_runs(graph="other")] == []
    assert [run.run_id for run in client.list_runs(text=made[4][-6:].upper())] == [made[4]]
    assert client.count_runs(tag="odd")["queued"] == 5


def test_one_page_has_the_cursor_of_the_next(client: Client) -> None:
    made = [client.submit("counting", {"n": 1}, thread_id=f"{n % 2}:{n}").run_id for n in range(5)]
    page = client.runs_page(limit=2, namespaces=["0"], brief=True)
    assert [(run.run_id, run.input) for run in page.runs] == [(made[4], None), (made[2], None)]
    last = client.runs_page(limit=2, namespaces=["0"], cursor=page.next)
    assert ([run.run_id for run in last.runs], last.next) == ([made[0]], None)


def test_tasks_are_counted_and_paged(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting())
    counts = client.task_counts("t")
    assert {it.status for it in counts} == {"done"}
    assert sum(it.count for it in counts) == len(client.tasks("t"))
    page = client.tasks_page("t", node="double", status="done", limit=1, brief=True)
    assert [(task.node, task.output) for task in page.tasks] == [("double", None)]
    for look in (client.task_counts, client.tasks_page):
        with pytest.raises(NotFoundError, match="'nobody'"):
            look("nobody")


def test_state_is_the_head_s_or_a_checkpoint_s(client: Client, store: MemoryStore) -> None:
    client.submit("counting", {"n": 1}, thread_id="t")
    with pytest.raises(NotFoundError, match="no checkpoint yet"):
        client.state("t")
    drive(store, counting())
    assert client.state("t")["n"] == 4
    first = client.history("t")[-2].checkpoint
    assert first is not None
    assert client.state("t", checkpoint=first.id) == first.state
    with pytest.raises(NotFoundError, match="'nothing'"):
        client.state("t", checkpoint="nothing")


def test_history_has_each_superstep_s_tasks(client: Client, store: MemoryStore) -> None:
    one = client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting())
    entries = client.history("t")
    ran = [
        sorted(task.node for task in entry.tasks if task.kind == "node") for entry in entries if entry.tasks
    ]
    assert ran[:3] == [["last"], ["double", "note"], ["add"]]
    assert entries[-1].checkpoint is None
    assert [task.kind for task in entries[-1].tasks] == ["advance"]
    assert [entry.checkpoint for entry in client.history("t", limit=2)] == [e.checkpoint for e in entries[:2]]
    two = client.submit("counting", {"n": 1}, thread_id="t")
    drive(store, counting())
    assert {task.run_id for e in client.history("t", run=two.run_id) for task in e.tasks} == {two.run_id}
    assert {task.run_id for e in client.history("t") for task in e.tasks} == {one.run_id, two.run_id}
    with pytest.raises(NotFoundError):
        client.history("unknown")


def test_workers_and_backlogs(client: Client, store: MemoryStore) -> None:
    handle = client.submit("counting", {"n": 1})
    assert [(b.queue, b.ready) for b in client.backlogs()] == [("petiole", 1)]
    drive(store, counting())
    assert [worker.worker_id for worker in client.workers()] == [HOLDER]
    nodes = [task.node for task in client.tasks(handle.run_id) if task.kind == "node"]
    assert nodes == ["add", "double", "note", "last"]


@dataclass
class Point:
    x: int


class Typed(TypedDict):
    point: Point


def _move(state: Typed) -> Typed:
    return {"point": Point(state["point"].x + 1)}


graph = (
    StateGraph(Typed)
    .add_node("move", _move)
    .add_edge(START, "move")
    .add_edge("move", END)
    .compile(name="typed")
)


def test_classes_come_back_once_the_graph_is_known(store: MemoryStore) -> None:
    handle = Client(store, settings=Settings()).submit(graph, {"point": Point(1)})
    drive(store, graph)
    fresh = MemoryStore("memory://")
    fresh.__dict__.update({k: v for k, v in store.__dict__.items() if k != "serde"})
    with pytest.raises(UnfitError, match="Point"):
        Client(fresh, settings=Settings()).state(handle.thread_id)
    named = Client(fresh, settings=Settings(graphs=[f"{__name__}:graph"]))
    assert named.state(handle.thread_id) == {"point": Point(2)}


def test_the_async_face_does_the_same(client: Client, store: MemoryStore) -> None:
    async def story() -> None:
        aio = client.aio
        handle = await aio.submit("counting", {"n": 1}, thread_id="t")
        with pytest.raises(RunTimeoutError):
            await handle.wait(0.03)
        assert await handle.status() == "queued"
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(drive, store, counting()))
            result = group.create_task(handle.result(10))
        assert result.result() == await aio.state("t")
        assert [run.run_id async for run in aio.list_runs(thread_id="t")] == [handle.run_id]
        assert (await aio.get_run("t")).run_id == (await aio.handle("t")).run_id
        assert len(await aio.history("t")) == len(client.history("t"))
        assert await (await aio.submit("counting", {"n": 1})).cancel()

    asyncio.run(story())
