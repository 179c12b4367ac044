"""``graph.stream``: while the graph runs, no further than it is read, and cleanly over when nobody reads any more."""

from __future__ import annotations

import asyncio
import operator
import threading
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from petiole import END, START, Runtime, StateGraph, get_runtime, get_stream_writer
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_stores.store import Store

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def chain(**nodes: Any) -> StateGraph:
    """Nodes one after the other, by name and function."""
    builder = StateGraph(State)
    for name, function in nodes.items():
        builder.add_node(name, function)
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        builder.add_edge(before, after)
    return builder


def noting(name: str, ran: list[str]) -> Any:
    def run(state: State) -> State:
        ran.append(name)
        return {"log": [name]}

    return run


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore("memory://") if request.param == "memory" else open_store(f"sqlite:///{tmp_path}/p.db")


def test_what_a_node_says_arrives_while_it_runs(store: Store) -> None:
    heard = threading.Event()

    def node(state: State, runtime: Runtime[Any]) -> State:
        runtime.stream_writer("working")
        assert heard.wait(20), "the stream gave out nothing while the node ran"
        return {"n": 1}

    chunks = (
        chain(node=node)
        .compile(checkpointer=store)
        .stream({"n": 0}, CONFIG, stream_mode=["custom", "updates"])
    )

    assert next(chunks) == ("custom", "working")
    heard.set()
    assert list(chunks) == [("updates", {"node": {"n": 1}})]


def test_a_superstep_begins_only_when_the_chunks_of_the_one_before_were_taken(store: Store) -> None:
    ran: list[str] = []
    graph = chain(a=noting("a", ran), b=noting("b", ran)).compile(checkpointer=store)

    chunks = graph.stream({"n": 0}, CONFIG)
    assert ran == []
    assert next(chunks) == {"a": {"log": ["a"]}}
    assert ran == ["a"]
    assert list(chunks) == [{"b": {"log": ["b"]}}]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_stream_closed_early_starts_nothing_more_and_can_be_gone_on_with(
    store: Store, durability: str
) -> None:
    ran: list[str] = []
    graph = chain(**{name: noting(name, ran) for name in "abc"}).compile(checkpointer=store)

    for chunk in graph.stream({"n": 0}, CONFIG, durability=durability):
        assert chunk == {"a": {"log": ["a"]}}
        break
    assert ran == ["a"]
    assert graph.get_state(CONFIG).next == ("b",)

    assert list(graph.stream(None, CONFIG)) == [{"b": {"log": ["b"]}}, {"c": {"log": ["c"]}}]
    assert ran == ["a", "b", "c"]


def test_closing_lets_the_nodes_that_run_end_and_keeps_what_they_gave(store: Store) -> None:
    begun, going_on, ended = threading.Event(), threading.Event(), threading.Event()
    ran: list[str] = []

    def slow(state: State) -> State:
        begun.set()
        assert going_on.wait(20)
        ended.set()
        return {"log": ["slow"]}

    def quick(state: State) -> State:
        assert begun.wait(20)
        return {"log": ["quick"]}

    builder = StateGraph(State).add_node("slow", slow).add_node("quick", quick)
    builder.add_node("after", noting("after", ran))
    for name in ("slow", "quick"):
        builder.add_edge(START, name).add_edge(name, "after")
    graph = builder.compile(checkpointer=store)

    chunks = graph.stream({"n": 0}, CONFIG)
    assert next(chunks) == {"quick": {"log": ["quick"]}}
    threading.Timer(0.1, going_on.set).start()
    chunks.close()  # type: ignore[attr-defined]

    assert ended.is_set()
    assert ran == []
    assert graph.invoke(None, CONFIG)["log"] == ["quick", "slow", "after"]
    assert ran == ["after"]


def test_a_new_input_may_follow_a_stream_that_was_closed(store: Store) -> None:
    ran: list[str] = []
    graph = chain(a=noting("a", ran), b=noting("b", ran)).compile(checkpointer=store)
    next(graph.stream({"n": 0}, CONFIG))

    assert graph.invoke({"n": 5}, CONFIG) == {"n": 5, "log": ["a", "a", "b"]}


def test_what_a_node_raises_comes_after_the_chunks_before_it() -> None:
    def boom(state: State) -> State:
        raise LookupError("not here")

    chunks = chain(a=noting("a", []), boom=boom).compile().stream({"n": 0})
    assert next(chunks) == {"a": {"log": ["a"]}}
    with pytest.raises(LookupError, match="not here"):
        next(chunks)


@pytest.mark.parametrize("durability", ["async", "exit", "interval:30"])
def test_carried_nodes_are_streamed_as_they_end(store: Store, durability: str) -> None:
    ran: list[str] = []
    graph = chain(a=noting("a", ran), b=noting("b", ran)).compile(checkpointer=store)

    chunks = graph.stream({"n": 0}, CONFIG, durability=durability, stream_mode="values")
    assert next(chunks) == {"n": 0, "log": []}
    assert next(chunks) == {"n": 0, "log": ["a"]}
    assert ran == ["a"]
    assert list(chunks) == [{"n": 0, "log": ["a", "b"]}]
    assert graph.get_state(CONFIG).values == {"n": 0, "log": ["a", "b"]}


def test_the_tries_of_a_node_are_heard_each(store: Store) -> None:
    from petiole import RetryPolicy

    tries: list[int] = []

    def flaky(state: State, runtime: Runtime[Any]) -> State:
        tries.append(1)
        runtime.stream_writer(f"try {len(tries)}, attempt {runtime.attempt}")
        if len(tries) < 3:
            raise ConnectionError("once more")
        return {"n": 1}

    builder = StateGraph(State)
    builder.add_node("flaky", flaky, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    builder.add_edge(START, "flaky")
    graph = builder.compile(checkpointer=store)

    said = list(graph.stream({"n": 0}, CONFIG, stream_mode="custom"))
    assert said == ["try 1, attempt 1", "try 2, attempt 2", "try 3, attempt 3"]


def test_async_nodes_run_on_the_callers_loop_and_are_heard() -> None:
    async def main() -> None:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()

        async def node(state: State) -> State:
            assert asyncio.get_running_loop() is loop
            get_stream_writer()({"at": state["n"]})
            await asyncio.wait_for(heard.wait(), 20)
            assert get_runtime().node == "node"
            return {"n": 1}

        graph = chain(node=node, a=noting("a", [])).compile()
        chunks = graph.astream({"n": 0}, stream_mode=["custom", "updates"])
        assert await anext(chunks) == ("custom", {"at": 0})
        heard.set()
        assert [chunk async for chunk in chunks] == [
            ("updates", {"node": {"n": 1}}),
            ("updates", {"a": {"log": ["a"]}}),
        ]

    asyncio.run(main())


def test_an_async_stream_closed_early_starts_nothing_more() -> None:
    ran: list[str] = []
    graph = chain(a=noting("a", ran), b=noting("b", ran)).compile(checkpointer=MemoryStore("memory://"))

    async def main() -> None:
        chunks = graph.astream({"n": 0}, CONFIG)
        assert await anext(chunks) == {"a": {"log": ["a"]}}
        await chunks.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert ran == ["a"]
    assert graph.get_state(CONFIG).next == ("b",)


def test_sync_nodes_in_threads_of_invoke_know_their_runtime() -> None:
    seen: list[str] = []

    def node(state: State) -> State:
        seen.append(get_runtime().node)
        get_stream_writer()("nobody listens")
        return {}

    chain(one=node, two=node).compile().invoke({"n": 0})
    assert seen == ["one", "two"]


def test_the_writer_cannot_be_had_outside_a_node() -> None:
    with pytest.raises(ConfigurationError, match="outside of a node"):
        get_stream_writer()


def test_an_unknown_mode_or_node_is_refused_at_once() -> None:
    graph = chain(a=noting("a", [])).compile()
    with pytest.raises(InputError, match="'everything'"):
        graph.stream({"n": 0}, stream_mode="everything")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'nowhere'"):
        graph.stream({"n": 0}, interrupt_before=["nowhere"])


def test_print_mode_prints_beside_what_is_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    graph = chain(a=noting("a", [])).compile()
    chunks = list(graph.stream({"n": 0}, stream_mode="values", print_mode="updates"))
    assert chunks == [{"n": 0, "log": []}, {"n": 0, "log": ["a"]}]
    assert capsys.readouterr().out == "[updates] {'a': {'log': ['a']}}\n"
