"""Streams of runs on workers, on every store: what is told, from any place on, while it happens, to any number of readers."""

from __future__ import annotations

import asyncio
import itertools
import operator
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    END,
    START,
    Client,
    Command,
    CompiledGraph,
    InputError,
    RetryPolicy,
    RunFailedError,
    RunHandle,
    Runtime,
    RunTimeoutError,
    Send,
    Settings,
    StateGraph,
    get_stream_writer,
)
from petiole.testing import LocalWorker
from petiole_stores.faults import FaultPlan, FaultyStore, delay, fail_before
from petiole_stores.ids import new_id
from petiole_stores.memory import MemoryStore
from petiole_stores.store import Store
from petiole_workers.celery.janitor import Janitor
from petiole_workers.graph import interrupt
from petiole_workers.resuming import resumptions
from petiole_workers.streaming import StreamMode
from petiole_workers.streaming.cursor import Position
from petiole_workers.streaming.following import StreamEvent
from tests.unit.streaming.normal import normal

ALL: list[StreamMode] = ["values", "updates", "checkpoints", "tasks", "custom"]


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[Any], operator.add]


def said(text: object) -> None:
    get_stream_writer()(text)


def talker(name: str) -> Callable[[State], State]:
    def node(state: State) -> State:
        said({"from": name, "at": 1})
        said([name, 2])
        return {"log": [name]}

    return node


def chain() -> StateGraph:
    builder = StateGraph(State)
    for name in "abc":
        builder.add_node(name, talker(name))
    return builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")


def fan_out() -> StateGraph:
    builder = StateGraph(State)
    for name in "abcd":
        builder.add_node(name, talker(name))
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c")
    return builder.add_edge(["b", "c"], "d")


def sends() -> StateGraph:
    builder = StateGraph(State).add_node("a", talker("a"))
    builder.add_node("w", lambda state: {"log": [state["k"]]})
    builder.add_node("end", lambda state: {"n": len(state["log"])})
    builder.add_conditional_edges("a", lambda state: [Send("w", {"k": k}) for k in range(12)])
    return builder.add_edge(START, "a").add_edge("w", "end")


def commands() -> StateGraph:
    builder = StateGraph(State)
    builder.add_node("a", lambda state: Command(update={"log": ["a"]}, goto=["b", "c"]))
    builder.add_node("b", lambda state: Command(goto=END))
    builder.add_node("c", lambda state: {"n": 7})
    return builder.add_edge(START, "a")


SCENARIOS = [chain, fan_out, sends, commands]


@pytest.fixture
def worker_of(store: Store) -> Iterator[Callable[[CompiledGraph], LocalWorker]]:
    """Makes a worker that serves one graph on the store."""
    made: list[LocalWorker] = []

    def make(graph: CompiledGraph, on: Store | None = None) -> LocalWorker:
        made.append(LocalWorker([graph], on or store))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def compiled(scenario: Callable[[], StateGraph], **options: Any) -> CompiledGraph:
    return scenario().compile(name=f"{scenario.__name__}-{new_id()[-8:]}", **options)


def plain(events: list[StreamEvent], *, ordered: bool = True) -> list[Any]:
    """Events as in-process chunks compare: joins' triggers are known to the graph alone."""
    return normal(((event.mode, _untriggered(event.data)) for event in events), ordered=ordered)


def _untriggered(data: Any) -> Any:
    return (
        {key: value for key, value in data.items() if key != "triggers"} if isinstance(data, dict) else data
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_followed_is_what_is_streamed_in_process(worker_of: Any, scenario: Any) -> None:
    graph = compiled(scenario)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()

    followed = plain(list(handle.stream(ALL)), ordered=False)

    config = {"configurable": {"thread_id": handle.thread_id}}
    here = scenario().compile(checkpointer=MemoryStore()).stream({"n": 0}, config, stream_mode=ALL)
    streamed = normal(((mode, _untriggered(data)) for mode, data in here), ordered=False)
    assert _grouped(followed) == _grouped(streamed)


def _grouped(chunks: list[Any]) -> list[Any]:
    """The chunks of each superstep; within one, what several tasks say and give has no order among them."""
    result: list[Any] = []
    for within, group in itertools.groupby(
        chunks, key=lambda chunk: chunk[0] in ("custom", "updates", "tasks")
    ):
        found = list(group)
        result.append(sorted(map(repr, found)) if within else found)
    return result


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_from_every_place_on_comes_what_came_after_it(worker_of: Any, scenario: Any) -> None:
    graph = compiled(scenario)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()

    whole = list(handle.stream(ALL))
    assert len({event.id for event in whole}) == len(whole) > 12
    for place, event in enumerate(whole):
        assert list(handle.stream(ALL, after=event.id)) == whole[place + 1 :]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_reader_that_comes_back_after_every_event_misses_and_repeats_nothing(
    worker_of: Any, scenario: Any
) -> None:
    """It reads one event at a time, each with a new connection, while the run goes on between them."""
    graph = compiled(scenario)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    got: list[StreamEvent] = []
    moving = True
    while moving:
        moving = worker.step()
        while found := first(handle, got[-1].id if got else None):
            got += found
    assert sorted(repr(event[1:]) for event in got) == sorted(repr(event[1:]) for event in handle.stream(ALL))
    assert _causes(got)


def first(handle: RunHandle, after: str | None) -> list[StreamEvent]:
    """The next event, if there is one by now."""
    try:
        return list(itertools.islice(handle.stream(ALL, after=after, timeout=0.0), 1))
    except RunTimeoutError:
        return []


def _causes(events: list[StreamEvent]) -> bool:
    """Whether what a node said stands between its beginning and its end."""
    at: dict[Any, list[int]] = {}
    for place, event in enumerate(events):
        if event.mode == "tasks":
            at.setdefault(event.data["name"], []).append(place)
    return all(
        at[event.node][0] < place < at[event.node][-1]
        for place, event in enumerate(events)
        if event.mode == "custom"
    )


def test_many_readers_at_once_while_workers_run(store: Store, worker_of: Any) -> None:
    graph = compiled(sends)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})

    def read(seed: int) -> list[StreamEvent]:
        """Reconnects after a few events, with a client of its own."""
        dice, got = random.Random(seed), list[StreamEvent]()
        client = Client(store)
        while True:
            stream = client.stream(
                handle.thread_id, handle.run_id, ALL, after=got[-1].id if got else None, timeout=30
            )
            taken = list(itertools.islice(stream, dice.randint(1, 9)))
            got += taken
            if not taken:
                return got

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read, seed) for seed in range(4)]
        worker.run_until_idle()
        found = [future.result() for future in reading]

    wanted = sorted(repr(event[1:]) for event in handle.stream(ALL))
    for got in found:
        assert sorted(repr(event[1:]) for event in got) == wanted


def test_an_async_reader(worker_of: Any) -> None:
    graph = compiled(chain)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})

    async def main() -> list[StreamEvent]:
        asyncio.get_running_loop().run_in_executor(None, worker.run_until_idle)
        by_client = [event async for event in worker.client.aio.stream(handle.thread_id, None, ALL)]
        aio = await worker.client.aio.handle(handle.thread_id)
        assert [event async for event in aio.stream(ALL, after=by_client[3].id)] == by_client[4:]
        return by_client

    assert asyncio.run(main()) == list(handle.stream(ALL))


def test_a_failed_run_tells_its_error_and_goes_on_with_its_replay(worker_of: Any) -> None:
    broken = threading.Event()
    broken.set()

    def boom(state: State) -> State:
        said("trying")
        if broken.is_set():
            raise ValueError("not yet")
        return {"n": 1}

    graph = StateGraph(State).add_node("a", talker("a")).add_node("boom", boom)
    graph.add_edge(START, "a").add_edge("a", "boom")
    served = graph.compile(name=f"boom-{new_id()[-8:]}")
    worker = worker_of(served)
    handle = worker.client.submit(served, {"n": 0})
    worker.run_until_idle()

    got: list[StreamEvent] = []
    with pytest.raises(RunFailedError, match="not yet"):
        got.extend(handle.stream(["updates", "tasks", "custom"]))
    assert got[-1].data["error"] == "ValueError('not yet')"
    with pytest.raises(RunFailedError):
        next(iter(handle.stream(["updates", "tasks", "custom"], after=got[-1].id)))

    broken.clear()
    worker.client.replay(handle.thread_id)
    worker.run_until_idle()
    more = list(handle.stream(["updates", "tasks", "custom"], after=got[-1].id))
    assert [(event.mode, event.data if event.mode != "tasks" else event.data["name"]) for event in more] == [
        ("tasks", "boom"),
        ("custom", "trying"),
        ("updates", {"boom": {"n": 1}}),
        ("tasks", "boom"),
    ]


def test_a_graph_in_a_graph_that_fails_is_told_of_each_time_and_at_its_end(worker_of: Any) -> None:
    left = [2]

    def boom(state: State) -> State:
        if left[0]:
            raise ValueError(f"{left[0]} left")
        return {"n": 1}

    inner = StateGraph(State).add_node("boom", boom).add_edge(START, "boom").compile()
    builder = StateGraph(State).add_node("inner", inner).add_edge(START, "inner")
    served = builder.compile(name=f"fragile-{new_id()[-8:]}")
    worker = worker_of(served)
    handle = worker.client.submit(served, {"n": 0})
    after: str | None = None
    told: list[Any] = []
    for last in (False, False, True):
        worker.run_until_idle()
        events = handle.stream(["updates", "tasks"], after=after)
        try:
            for event in events:
                told += [event.data] if event.mode == "updates" else [event.data.get("error")]
            assert last
        except RunFailedError:
            assert not last
            left[0] -= 1
            worker.client.replay(handle.thread_id)
        after = events.position
    once, twice = "ValueError('2 left')", "ValueError('1 left')"
    assert list(filter(None, told)) == [once, twice, {"inner": {"n": 1, "log": []}}]


def test_a_stop_is_told_and_what_comes_after_it_when_it_goes_on(worker_of: Any) -> None:
    graph = compiled(chain, interrupt_before=["b"])
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()

    got = list(handle.stream(["updates", "tasks"]))
    assert got[-1].data == {"__interrupt__": ()}
    assert list(handle.stream(["updates", "tasks"], after=got[-1].id)) == []

    worker.client.resume(handle.thread_id)
    worker.run_until_idle()
    more = list(handle.stream(["updates", "tasks"], after=got[-1].id))
    names = [event.data["name"] for event in more if event.mode == "tasks"]
    assert names == ["b", "b", "c", "c"]


def asking() -> StateGraph:
    builder = StateGraph(State).add_node("a", talker("a"))
    builder.add_node("ask", lambda state: {"log": [interrupt("how many?"), interrupt("sure?")]})
    builder.add_node("end", talker("end"))
    return builder.add_edge(START, "a").add_edge("a", "ask").add_edge("ask", "end")


def nested() -> StateGraph:
    sub: Any = chain().compile()
    builder = StateGraph(State).add_node("a", talker("a")).add_node("sub", sub)
    builder.add_node("end", talker("end"))
    return builder.add_edge(START, "a").add_edge("a", "sub").add_edge("sub", "end")


def nested_asking() -> StateGraph:
    sub: Any = asking().compile()
    return StateGraph(State).add_node("sub", sub).add_edge(START, "sub")


def _data(event: StreamEvent) -> Any:
    asked = event.data.get("__interrupt__") if isinstance(event.data, dict) else None
    names = tuple(part.partition(":")[0] for part in event.ns)
    return names, event.mode, event.data if asked is None else tuple(it.value for it in asked)


def test_questions_are_told_once_each_and_the_answers_go_on(store: Store, worker_of: Any) -> None:
    graph = compiled(asking)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    got: list[StreamEvent] = []
    for answer in (3, True, None):
        worker.run_until_idle()
        after = got[-1].id if got else None
        got += handle.stream("updates", after=after)
        assert list(handle.stream("updates", after=got[-1].id)) == []
        if answer is not None:
            answers = resumptions(store.list_tasks(handle.run_id), answer, store.serde)
            worker.client.publish(store.resume(handle.run_id, answers).publish)
    assert [_data(event)[2] for event in got] == [
        {"a": {"log": ["a"]}},
        ("how many?",),
        ("sure?",),
        {"ask": {"log": [3, True]}},
        {"end": {"log": ["end"]}},
    ]


def test_graphs_as_nodes_are_told_in_their_namespaces(worker_of: Any) -> None:
    graph = compiled(nested)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()

    whole = list(handle.stream(["updates", "custom", "values"], subgraphs=True))
    config = {"configurable": {"thread_id": "t"}}
    here = (
        nested()
        .compile(checkpointer=MemoryStore())
        .stream({"n": 0}, config, stream_mode=["updates", "custom", "values"], subgraphs=True)
    )
    wanted = [(tuple(part.partition(":")[0] for part in ns), mode, data) for ns, mode, data in here]
    assert [_data(event) for event in whole] == wanted
    for place, event in enumerate(whole):
        rest = list(handle.stream(["updates", "custom", "values"], after=event.id, subgraphs=True))
        assert rest == whole[place + 1 :]
    assert {event.ns for event in handle.stream("updates")} == {()}


def test_a_question_in_a_graph_that_is_a_node_is_told_by_both(worker_of: Any) -> None:
    graph = compiled(nested_asking)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()

    told = [_data(event) for event in handle.stream("updates", subgraphs=True)]
    assert told == [
        (("sub",), "updates", {"a": {"log": ["a"]}}),
        (("sub",), "updates", ("how many?",)),
        ((), "updates", ("how many?",)),
    ]


def test_what_an_earlier_attempt_said_can_be_told_apart(worker_of: Any) -> None:
    tries: list[int] = []

    def flaky(state: State, runtime: Runtime[Any]) -> State:
        tries.append(1)
        runtime.stream_writer(f"try {len(tries)}")
        if len(tries) < 3:
            raise ConnectionError("once more")
        return {"n": 1}

    builder = StateGraph(State)
    builder.add_node("flaky", flaky, retry_policy=RetryPolicy(initial_interval=0.3, jitter=False))
    graph = builder.add_edge(START, "flaky").compile(name=f"flaky-{new_id()[-8:]}")
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_through_timers()

    told = [(event.data, event.node, event.attempt) for event in handle.stream("custom")]
    assert told == [("try 1", "flaky", 1), ("try 2", "flaky", 2), ("try 3", "flaky", 3)]


def test_what_was_said_before_a_crash_is_told(worker_of: Any) -> None:
    graph = compiled(chain)
    worker = worker_of(graph)
    worker.crash_at("finish.before", node="b")
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_through_timers()

    told = [(event.node, event.attempt) for event in handle.stream("custom")]
    assert told == [("a", 1), ("a", 1), ("b", 1), ("b", 1), ("b", 2), ("b", 2), ("c", 1), ("c", 1)]


def test_a_carried_run_tells_what_its_nodes_say_before_it_is_committed(worker_of: Any) -> None:
    heard = threading.Event()

    def last(state: State) -> State:
        said("c")
        assert heard.wait(20), "nobody heard what was said while the run was carried"
        return {}

    builder = StateGraph(State).add_node("a", talker("a")).add_node("b", talker("b")).add_node("c", last)
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    graph = builder.compile(name=f"carried-{new_id()[-8:]}", durability="exit")
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})

    def read() -> list[Any]:
        got = []
        for event in handle.stream(["custom", "updates"], timeout=30):
            got.append(event.data)
            if event.data == "c":
                heard.set()
        return got

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        worker.run_until_idle()
        got = reading.result()
    whole = [event.data for event in handle.stream(["custom", "updates"])]
    assert sorted(map(repr, got)) == sorted(map(repr, whole))
    assert whole.index("c") > whole.index({"b": {"log": ["b"]}}), "who comes later gets it in order"


@pytest.mark.parametrize("fault", [fail_before("append_events"), delay("append_events", seconds=1.2)])
def test_events_that_cannot_be_written_are_in_no_nodes_way(store: Store, worker_of: Any, fault: Any) -> None:
    graph = compiled(chain)
    worker = worker_of(graph, FaultyStore(store, FaultPlan(fault)))
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()
    assert handle.result(0)["log"] == ["a", "b", "c"]


def test_what_cannot_be_stored_is_dropped_alone(worker_of: Any) -> None:
    def node(state: State) -> State:
        said(object())
        said("x" * (2 * 1024 * 1024))
        said("fine")
        return {}

    graph = StateGraph(State).add_node("a", node).add_edge(START, "a").compile(name=f"odd-{new_id()[-8:]}")
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()
    assert [event.data for event in handle.stream("custom")] == ["fine"]


def test_a_value_is_told_as_it_was_when_it_was_said(worker_of: Any) -> None:
    def node(state: State) -> State:
        told: list[int] = []
        for number in range(3):
            told.append(number)
            said(told)
        return {}

    graph = StateGraph(State).add_node("a", node).add_edge(START, "a").compile(name=f"now-{new_id()[-8:]}")
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()
    assert [event.data for event in handle.stream("custom")] == [[0], [0, 1], [0, 1, 2]]


def test_runs_of_one_thread_are_told_apart(worker_of: Any) -> None:
    graph = compiled(chain)
    worker = worker_of(graph)
    runs = []
    for number in range(2):
        runs.append(worker.client.submit(graph, {"n": number}, thread_id="one-thread-" + graph.name))
        worker.run_until_idle()

    for number, handle in enumerate(runs):
        told = list(handle.stream(["values", "custom"]))
        assert told[0].data["n"] == number
        assert sum(event.mode == "custom" for event in told) == 6
        assert sum(event.mode == "values" for event in told) == 4
    ids = [event.id for event in runs[0].stream()]
    with pytest.raises(InputError, match="is of run"):
        runs[1].stream(after=ids[0])
    newest = worker.client.stream(runs[0].thread_id)
    assert newest.run.run_id == runs[1].run_id


def test_the_janitor_removes_what_was_said_long_ago(store: Store, worker_of: Any) -> None:
    graph = compiled(chain)
    worker = worker_of(graph)
    handle = worker.client.submit(graph, {"n": 0})
    worker.run_until_idle()

    class Context:
        settings = Settings(keep_events=100.0)
        holder = "h"

    Context.store = store  # type: ignore[attr-defined]
    janitor = Janitor(Context())  # type: ignore[arg-type]
    janitor._cursor = store.latest()
    janitor.tick()
    assert len(list(handle.stream("custom"))) == 6
    worker.clock.tick(101)
    janitor.tick()
    assert list(handle.stream("custom")) == []
    assert len(list(handle.stream("updates"))) == 3


def test_tokens_of_models_are_kept_where_the_settings_say_so(store: Store) -> None:
    fakes = pytest.importorskip("langchain_core.language_models.fake_chat_models")
    messages = pytest.importorskip("langchain_core.messages")

    def node(state: State) -> State:
        model = fakes.GenericFakeChatModel(messages=iter([messages.AIMessage(content="one two")]))
        return {"log": [model.invoke("say").content]}

    graph = (
        StateGraph(State).add_node("talk", node).add_edge(START, "talk").compile(name=f"talk-{new_id()[-8:]}")
    )
    told = []
    for kept in (["custom"], ["custom", "messages"]):
        with LocalWorker([graph], store, settings=Settings(stream_events=kept)) as worker:
            handle = worker.client.submit(graph, {"n": 0})
            worker.run_until_idle()
            told.append(list(handle.stream("messages")))
    assert told[0] == []
    said = [event.data for event in told[1]]
    assert "".join(message.content for message, _ in said) == "one two"
    assert all(isinstance(message, messages.AIMessageChunk) for message, _ in said)
    assert {about["langgraph_node"] for _, about in said} == {"talk"}
    assert {(event.node, event.attempt) for event in told[1]} == {("talk", 1)}


@pytest.mark.parametrize("token", ["", "x", "%%%", "eyJhIjoxfQ", "é"])
def test_an_id_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(InputError, match="event id"):
        Position.parse(token)
