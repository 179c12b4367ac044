"""What nodes on workers log, on every store: kept with its attempt, read page by page, not seen by streams."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypedDict

import msgspec
import pytest

from petiole import (
    START,
    CompiledGraph,
    InputError,
    NotFoundError,
    RetryPolicy,
    RunHandle,
    Runtime,
    Settings,
    StateGraph,
    get_stream_writer,
    task,
)
from petiole.client import LogEntry
from petiole.testing import LocalWorker
from petiole_stores.events import NewEvent
from petiole_stores.faults import FaultPlan, FaultyStore, delay, fail_before
from petiole_stores.ids import new_id
from petiole_stores.store import Store
from petiole_workers.streaming import Modes
from petiole_workers.streaming.following import Follower
from petiole_workers.streaming.speaking import unpack_event

shop = logging.getLogger("test.contract")


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], lambda left, right: left + right]


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    yield
    root.setLevel(before)


@pytest.fixture
def worker_of(store: Store) -> Iterator[Callable[..., LocalWorker]]:
    made: list[LocalWorker] = []

    def make(graph: CompiledGraph, on: Store | None = None, **settings: Any) -> LocalWorker:
        made.append(LocalWorker([graph], on or store, settings=Settings(**settings)))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def graph_of(**nodes: Any) -> CompiledGraph:
    """The nodes in a row."""
    builder, before = StateGraph(State), START
    for name, node in nodes.items():
        options = {"retry_policy": RetryPolicy(initial_interval=0.0, jitter=False)} if name == "flaky" else {}
        builder.add_node(name, node, **options).add_edge(before, name)
        before = name
    return builder.compile(name=f"logs-{new_id()[-8:]}")


def done(worker: LocalWorker, graph: CompiledGraph, **options: Any) -> RunHandle:
    handle = worker.client.submit(graph, {"n": 0}, **options)
    worker.run_until_idle()
    assert handle.status() == "succeeded"
    return handle


def told(entries: Iterator[LogEntry]) -> list[tuple[str, int, str, str]]:
    return [(one.label, one.attempt, one.level, one.message) for one in entries]


def flaky(state: State, runtime: Runtime[Any]) -> State:
    shop.info("attempt %d", runtime.attempt)
    runtime.logger.debug("not kept")
    try:
        if runtime.attempt < 3:
            raise ConnectionError("the bank is away")
    except ConnectionError:
        shop.exception("refused")
        raise
    return {}


async def wide(state: State) -> State:
    shop.warning("in a coroutine")
    await asyncio.gather(asyncio.to_thread(shop.info, "in a thread"), later())
    return {}


async def later() -> None:
    await asyncio.sleep(0)
    shop.info("in a task")


def test_what_nodes_log_is_kept_with_its_attempt(worker_of: Any) -> None:
    graph = graph_of(flaky=flaky, wide=wide)
    worker = worker_of(graph)
    handle = done(worker, graph)
    client = worker.client

    entries = [*client.logs(handle.thread_id)]
    assert told(iter(entries[:5])) == [
        ("flaky", 1, "INFO", "attempt 1"),
        ("flaky", 1, "ERROR", "refused"),
        ("flaky", 2, "INFO", "attempt 2"),
        ("flaky", 2, "ERROR", "refused"),
        ("flaky", 3, "INFO", "attempt 3"),
    ]
    assert sorted(told(iter(entries[5:]))) == [
        ("wide", 1, "INFO", "in a task"),
        ("wide", 1, "INFO", "in a thread"),
        ("wide", 1, "WARNING", "in a coroutine"),
    ]
    assert entries[1].exception is not None
    assert "ConnectionError: the bank is away" in entries[1].exception
    assert {one.logger for one in entries} == {"test.contract"}
    assert {(one.run_id, one.thread_id) for one in entries} == {(handle.run_id, handle.thread_id)}
    tasks = {one.node: one.task_id for one in client.tasks(handle.run_id) if one.kind == "node"}
    assert {one.task_id for one in entries if one.node == "wide"} == {tasks["wide"]}
    assert len([*client.logs(handle.run_id, task_id=tasks["wide"])]) == 3
    assert [one.message for one in client.logs(handle.run_id, level="warning", node="flaky")] == [
        "refused"
    ] * 2
    assert [*client.logs(handle.run_id, task_id="none")] == []


def test_pages_go_on_where_the_one_before_ended_and_later_with_what_is_new(worker_of: Any) -> None:
    def node(state: State) -> State:
        for number in range(7):
            get_stream_writer()(number)
            shop.log(10 * (number % 5 + 1), "%d", number)
        return {}

    graph = graph_of(node=node)
    worker = worker_of(graph, node_logs="DEBUG")
    handle, client = done(worker, graph), worker.client
    got, cursor = [], None
    while True:
        page = client.logs_page(handle.run_id, limit=3, cursor=cursor)
        assert len(page.logs) <= 3
        got += [one.message for one in page.logs]
        if page.next is None:
            break
        assert page.next == page.after
        cursor = page.next
    assert got == [*"0123456"]
    assert client.logs_page(handle.run_id, cursor=page.after).logs == []
    assert [one.message for one in client.logs(handle.run_id, level="ERROR")] == ["3", "4"]

    again = done(worker, graph, thread_id=handle.thread_id)
    assert client.logs_page(handle.run_id, cursor=page.after).logs == [], "another run's"
    assert {one.run_id for one in client.logs(handle.thread_id)} == {again.run_id}
    for wrong in ({"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"cursor": "-1"}, {"level": "loud"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            client.logs_page(handle.run_id, **wrong)
    with pytest.raises(NotFoundError):
        client.logs_page("nothing")


def test_streams_show_no_logs(worker_of: Any) -> None:
    def node(state: State) -> State:
        shop.info("logged")
        get_stream_writer()("said")
        shop.info("logged")
        return {"n": 1}

    graph = graph_of(node=node)
    worker = worker_of(graph)
    handle = done(worker, graph)
    modes: list[Any] = ["values", "updates", "checkpoints", "tasks", "debug", "messages", "custom"]
    events = [*handle.stream(modes)]
    assert {event.mode for event in events} <= {*modes}
    assert [event.data for event in events if event.mode == "custom"] == ["said"]
    assert "logged" not in repr(events)
    [said] = [event for event in events if event.mode == "custom"]
    after = [event.data for event in handle.stream(["custom", "updates"], after=said.id)]
    assert after == [{"node": {"n": 1}}]


def test_who_follows_a_stream_is_at_the_same_place_whatever_is_logged(
    store: Store, worker_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_of(node=lambda state: get_stream_writer()("said") or {"n": 1})
    worker = worker_of(graph)
    handle = done(worker, graph)
    modes = Modes.of(["custom", "updates"])
    early = Follower(store, handle.run, modes)
    assert len(early.look()) == 2
    before = early.position
    [said] = store.read_events(handle.thread_id)
    by = msgspec.to_builtins(unpack_event(store.serde, said.value)[0])
    log = store.serde.pack([by, {"message": "x"}])
    reads: list[int] = []
    read_events = store.read_events
    monkeypatch.setattr(
        store,
        "read_events",
        lambda thread, after=0, **more: reads.append(after) or read_events(thread, after, **more),
    )
    for number in range(250):
        if number % 100 == 0:
            assert early.look() == []
        store.append_events(handle.thread_id, handle.run_id, [NewEvent(f"log-{number}", "log", log)])
    assert early.look() == []
    late = Follower(store, handle.run, modes)
    assert len(late.look()) == 2
    assert early.position == late.position == before
    reads.clear()
    assert early.look() == []
    assert reads == [store.newest_event(handle.thread_id)], "what was passed over is not read again"
    more = NewEvent("more", "custom", store.serde.pack([by, "more"]))
    store.append_events(handle.thread_id, handle.run_id, [more])
    again = Follower(store, handle.run, modes, after=before)
    for follower in (early, late, again):  # a second look, for its superstep is over
        assert [event.data for event in [*follower.look(), *follower.look()]] == ["more"]
    assert early.position == late.position == again.position != before


@pytest.mark.parametrize(("kept", "messages"), [("ERROR", ["error"]), ("off", []), ("CRITICAL", [])])
def test_the_setting_says_what_is_kept(worker_of: Any, kept: str, messages: list[str]) -> None:
    def node(state: State) -> State:
        shop.info("info")
        shop.error("error")
        return {}

    graph = graph_of(node=node)
    worker = worker_of(graph, node_logs=kept, stream_events=[])
    handle = done(worker, graph)
    assert [one.message for one in worker.client.logs(handle.run_id)] == messages


def test_graphs_within_graphs_and_steps(worker_of: Any) -> None:
    @task
    def step(number: int) -> int:
        shop.info("step %d", number)
        return number

    def inner(state: State) -> State:
        step(1).result()
        return {}

    graph = graph_of(outer=graph_of(inner=inner))
    worker = worker_of(graph)
    handle = done(worker, graph)
    assert told(worker.client.logs(handle.run_id)) == [("outer/inner", 1, "INFO", "step 1")]
    assert len([*worker.client.logs(handle.run_id, node="outer/inner")]) == 1


def test_a_graph_in_process_keeps_none_unless_a_workers_node_runs_it(worker_of: Any, store: Store) -> None:
    inner = graph_of(inner=lambda state: shop.info("inner") or {})
    graph = graph_of(outer=lambda state: inner.invoke({"n": 1}) and {})
    worker = worker_of(graph)
    handle = done(worker, graph)
    assert told(worker.client.logs(handle.run_id)) == [("outer", 1, "INFO", "inner")]

    newest = store.newest_event(handle.thread_id)
    inner.invoke({"n": 1})
    assert store.newest_event(handle.thread_id) == newest


@pytest.mark.parametrize("fault", [fail_before("append_events"), delay("append_events", seconds=1.2)])
def test_records_that_cannot_be_written_are_in_no_nodes_way(store: Store, worker_of: Any, fault: Any) -> None:
    graph = graph_of(node=lambda state: shop.info("x") or {"n": 1})
    worker = worker_of(graph, FaultyStore(store, FaultPlan(fault)))
    done(worker, graph)


def test_events_that_are_no_records_are_passed_over(store: Store, worker_of: Any) -> None:
    graph = graph_of(node=lambda state: shop.info("x") or {"n": 1})
    worker = worker_of(graph)
    handle = done(worker, graph)
    for number, value in enumerate([{"odd": 1}, [1, 2, 3], ["not", "a", "record"]]):
        event = NewEvent(f"odd-{number}", "log", store.serde.pack(value))
        store.append_events(handle.thread_id, handle.run_id, [event])
    assert [one.message for one in worker.client.logs(handle.run_id)] == ["x"]


def test_following_ends_with_the_run(worker_of: Any) -> None:
    graph = graph_of(
        first=lambda state: shop.info("first") or {}, second=lambda state: shop.info("second") or {}
    )
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    got: list[str] = []
    reader = threading.Thread(
        target=lambda: got.extend(one.message for one in worker.client.logs(handle.run_id, follow=True))
    )
    reader.start()
    worker.run_until_idle()
    reader.join(30)
    assert not reader.is_alive()
    assert got == ["first", "second"]


def test_the_async_client_has_them_too(worker_of: Any) -> None:
    graph = graph_of(node=lambda state: shop.info("x") or {"n": 1})
    worker = worker_of(graph)
    handle = done(worker, graph)

    async def read() -> tuple[list[str], int]:
        client = worker.client.aio
        page = await client.logs_page(handle.run_id)
        found = await client.handle(handle.run_id)
        errors = [one async for one in found.logs(level="ERROR")]
        assert errors == [*handle.logs(level="ERROR")] == []
        assert [one.message async for one in found.logs()] == [one.message for one in handle.logs()]
        return [one.message async for one in client.logs(handle.run_id)], len(page.logs)

    assert asyncio.run(read()) == (["x"], 1)
