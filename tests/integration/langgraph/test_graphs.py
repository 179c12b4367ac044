"""Graphs that LangGraph itself runs: with the saver they do what they do with LangGraph's own ``InMemorySaver``."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, Literal

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, StateSnapshot, interrupt

from petiole.langgraph import PetioleSaver
from tests.integration.langgraph import graphs
from tests.integration.langgraph.graphs import Failing, Graph, Saver

Durability = Literal["sync", "async", "exit"]


def new_thread() -> RunnableConfig:
    return {"configurable": {"thread_id": uuid.uuid4().hex}}


def shown(snapshot: StateSnapshot) -> dict[str, Any]:
    """What of a snapshot does not differ between two threads that did the same."""
    metadata = dict(snapshot.metadata or {})
    metadata.pop("parents", None)
    return {
        "values": snapshot.values,
        "next": snapshot.next,
        "metadata": metadata,
        "tasks": [
            (task.name, task.error, [i.value for i in task.interrupts], task.result)
            for task in snapshot.tasks
        ],
        "has_parent": snapshot.parent_config is not None,
    }


def story(graph: Graph, config: RunnableConfig) -> list[dict[str, Any]]:
    return [shown(snapshot) for snapshot in graph.get_state_history(config)]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize(
    ("make", "given"),
    [(graphs.diamond, {"log": ["in"]}), (graphs.loop, {"left": 4}), (graphs.fan, {"left": 5})],
)
def test_a_run_leaves_the_history_that_langgraphs_own_saver_has(
    saver: PetioleSaver, make: Callable[[Saver], Graph], given: dict[str, Any], durability: Durability
) -> None:
    expected, config = make(InMemorySaver()), new_thread()
    result = expected.invoke(given, config, durability=durability)
    graph = make(saver)

    assert graph.invoke(given, config, durability=durability) == result
    assert story(graph, config) == story(expected, config)
    assert graph.invoke(given, config) == expected.invoke(given, config)
    assert story(graph, config) == story(expected, config)


@pytest.mark.parametrize("make", [graphs.diamond, graphs.fan])
def test_async_runs_do_the_same(saver: PetioleSaver, make: Callable[[Saver], Graph]) -> None:
    async def run(graph: Graph, config: RunnableConfig) -> list[dict[str, Any]]:
        await graph.ainvoke({"left": 3, "log": []}, config)
        return [shown(snapshot) async for snapshot in graph.aget_state_history(config)]

    config = new_thread()
    assert asyncio.run(run(make(saver), config)) == asyncio.run(run(make(InMemorySaver()), config))


def test_an_interrupted_thread_is_resumed_by_another_process(saver: PetioleSaver, url: str) -> None:
    """The second saver has nothing of the first but the store."""
    config = new_thread()
    stopped = graphs.asking(saver).invoke({"log": []}, config)
    assert [each.value for each in stopped["__interrupt__"]] == ["first?"]

    other = saver if url == "memory://" else PetioleSaver(url)
    graph = graphs.asking(other)
    assert graph.get_state(config).next == ("ask",)  # b has ended, its writes wait
    again = graph.invoke(Command(resume="yes"), config)
    assert [each.value for each in again["__interrupt__"]] == [{"second": "?"}]
    result = graph.invoke(Command(resume="no"), config)

    assert result == {"log": ["a", "b", "c"], "answer": "yes no"}
    assert graph.get_state(config).next == ()
    if other is not saver:
        other.close()


def test_interrupted_histories_agree(saver: PetioleSaver) -> None:
    config = new_thread()
    stories = []
    for each in (saver, InMemorySaver()):
        graph = graphs.asking(each, before=["c"])
        parts = [graph.invoke({"log": []}, config), story(graph, config)]
        for answer in (Command(resume=1), Command(resume=2), None):
            parts += [graph.invoke(answer, config), story(graph, config)]
        stories.append(_without_ids(parts))
    assert stories[0] == stories[1]


def _without_ids(parts: list[Any]) -> list[Any]:
    """Ids of interrupts come from ids of checkpoints, which no two runs share."""
    for part in parts:
        if isinstance(part, dict) and "__interrupt__" in part:
            part["__interrupt__"] = [each.value for each in part["__interrupt__"]]
    return parts


def test_what_has_ended_beside_a_failed_node_is_not_run_again(saver: PetioleSaver) -> None:
    failing, config = Failing(saver), new_thread()
    with pytest.raises(ValueError, match="b is broken"):
        failing.graph.invoke({"log": []}, config, durability="sync")
    failing.sound = True

    assert failing.graph.invoke(None, config)["log"] == ["a", "b"]
    assert failing.ran == {"a": 1, "b": 2}


def test_time_travel(saver: PetioleSaver) -> None:
    """A replay from an old checkpoint, and a fork by an update there, leave the first branch as it was."""
    graph, config = graphs.loop(saver), new_thread()
    graph.invoke({"left": 3}, config)
    first = [*graph.get_state_history(config)]
    old = next(each for each in first if each.values.get("left") == 2)

    assert graph.invoke(None, old.config)["log"] == ["2", "1", "0"]
    fork = graph.update_state(old.config, {"left": 1}, as_node="__start__")
    assert graph.get_state(config).config == {"configurable": {"checkpoint_ns": "", **fork["configurable"]}}
    assert graph.invoke(None, config)["log"] == ["2", "0"]
    assert graph.get_state(old.config) == old
    ids = {each.config["configurable"]["checkpoint_id"] for each in graph.get_state_history(config)}
    assert {each.config["configurable"]["checkpoint_id"] for each in first} <= ids


def test_subgraphs_and_what_they_ask(saver: PetioleSaver) -> None:
    graph, config = graphs.nested(saver), new_thread()
    graph.invoke({"log": []}, config)
    [task] = graph.get_state(config, subgraphs=True).tasks
    assert isinstance(task.state, StateSnapshot)
    assert task.state.values["log"] == ["outer", "first"]
    assert task.state.next == ("ask",)
    inner = {"configurable": {**task.state.config["configurable"], "checkpoint_id": None}}
    assert [shot.next for shot in graph.get_state_history(inner)] == [("ask",), ("first",), ("__start__",)]

    result = graph.invoke(Command(resume="fine"), config)
    assert result["log"] == ["outer", "outer", "first", "asked", "last", "end"]
    assert result["answer"] == "fine"
    # Only the root's checkpoints are the thread's history; the subgraph's stand in their own namespace.
    assert {each.config["configurable"]["checkpoint_ns"] for each in graph.get_state_history(config)} == {""}
    namespaces = {each.config["configurable"]["checkpoint_ns"] for each in saver.list(config)}
    assert namespaces == {"", inner["configurable"]["checkpoint_ns"]}


@pytest.mark.parametrize("remembers", [None, True])
def test_what_subgraphs_leave_agrees(saver: PetioleSaver, remembers: bool | None) -> None:
    """Every checkpoint of every namespace, over two calls with an answer each."""

    def run(each: Saver) -> list[Any]:
        graph, config = graphs.nested(each, remembers=remembers), new_thread()
        results = []
        for _ in range(2):
            results += [graph.invoke({"log": []}, config), graph.invoke(Command(resume="yes"), config)]
        assert each is not None
        found = [(_family(at.config), at.checkpoint["id"], at) for at in each.list(config)]
        return _without_ids(results) + [
            (family, at.checkpoint["channel_values"], at.metadata["source"], at.metadata["step"])
            for family, _, at in sorted(found, key=lambda row: row[:2])
        ]

    assert run(saver) == run(InMemorySaver())


def _family(config: RunnableConfig) -> list[str]:
    """A namespace without the ids of the tasks that called."""
    return [part.partition(":")[0] for part in config["configurable"]["checkpoint_ns"].split("|")]


def test_many_async_threads_at_once(saver: PetioleSaver) -> None:
    graph = graphs.asking(saver)
    configs = [new_thread() for _ in range(8)]

    async def run(config: RunnableConfig) -> Any:
        await graph.ainvoke({"log": []}, config)
        await graph.ainvoke(Command(resume=1), config)
        return await graph.ainvoke(Command(resume=2), config)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(run, configs))

    assert asyncio.run(all_of_them()) == [{"log": ["a", "b", "c"], "answer": "1 2"}] * 8


def test_many_threads_at_once(saver: PetioleSaver) -> None:
    graph = graphs.fan(saver)
    configs = [new_thread() for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        results = [*pool.map(lambda each: graph.invoke({"left": 6}, each), configs)]

    expected = [*(f"did {n}" for n in range(6)), "gathered"]
    assert [result["log"] for result in results] == [expected] * 12
    assert [graph.get_state(each).values["log"] for each in configs] == [expected] * 12


def test_messages(saver: PetioleSaver) -> None:
    graph, config = graphs.chat(saver), new_thread()
    graph.invoke({"messages": ["hello"]}, config)
    result = graph.invoke({"messages": [("user", "hi")]}, config)

    assert graph.get_state(config).values == result
    assert [(type(m).__name__, m.content) for m in result["messages"]] == [
        ("HumanMessage", "hello"),
        ("AIMessage", "5 letters"),
        ("HumanMessage", "hi"),
        ("AIMessage", "2 letters"),
    ]


def test_the_functional_api(saver: PetioleSaver) -> None:
    """Tasks that have ended are not run again when the entrypoint is resumed, and the last result is remembered."""
    ran: list[int] = []

    @task
    def square(number: int) -> int:
        ran.append(number)
        return number * number

    @entrypoint(checkpointer=saver)
    def total(numbers: list[int], *, previous: int | None = None) -> int:
        squares = [square(number) for number in numbers]
        bonus: int = interrupt("bonus?")
        return sum(each.result() for each in squares) + bonus + (previous or 0)

    config = new_thread()
    total.invoke([1, 2], config)
    assert total.invoke(Command(resume=100), config) == 105
    total.invoke([3], config)
    assert total.invoke(Command(resume=0), config) == 114
    assert sorted(ran) == [1, 2, 3]


def test_a_checkpoint_moves_between_savers(saver: PetioleSaver) -> None:
    """A thread that LangGraph's own saver began goes on here: its versions are texts."""
    own, config = InMemorySaver(), new_thread()
    graphs.asking(own).invoke({"log": []}, config)
    for each in reversed([*own.list(config)]):
        parent = each.parent_config or config
        place = {"configurable": {"checkpoint_ns": "", **parent["configurable"]}}
        versions = each.checkpoint["channel_versions"]
        at = saver.put(place, each.checkpoint, each.metadata, versions)
        for task_id, writes in groupby(each.pending_writes or (), key=lambda write: write[0]):
            saver.put_writes(at, [(channel, value) for _, channel, value in writes], task_id)

    graph = graphs.asking(saver)
    assert graph.get_state(config) == graphs.asking(own).get_state(config)
    graph.invoke(Command(resume=1), config)
    assert graph.invoke(Command(resume=2), config) == {"log": ["a", "b", "c"], "answer": "1 2"}
