"""``graph.invoke`` on the stores of one process: history, failures, forks, interrupts, types."""

from __future__ import annotations

import asyncio
import operator
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import (
    GraphRecursionError,
    InputError,
    InvalidUpdateError,
    NotFoundError,
    SerializationError,
    ThreadBusyError,
)
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_stores.store import Store
from petiole_workers.graph import END, START, RetryPolicy, Runtime, Send, StateGraph

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def chain(*names: str, **nodes: Any) -> StateGraph:
    """Nodes one after the other; each adds its name to ``log`` unless a function is given for it."""
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, nodes.get(name) or (lambda state, name=name: {"log": [name]}))
    for before, after in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(before, after)
    return builder


@pytest.fixture(params=["memory://", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store("memory://" if request.param == "memory://" else f"sqlite:///{tmp_path / 'p.db'}")


def test_a_failed_node_is_raised_and_goes_on_where_it_failed(store: Store) -> None:
    ran: list[str] = []
    broken = threading.Event()
    broken.set()

    def flaky(state: State) -> State:
        ran.append("b")
        if broken.is_set():
            raise ValueError("not yet")
        return {"log": ["b"]}

    def sibling(state: State) -> State:
        ran.append("c")
        return {"log": ["c"]}

    builder = chain("a")
    builder.add_node("b", flaky).add_node("c", sibling).add_node("d", lambda state: {"log": ["d"]})
    builder.add_edge("a", "b").add_edge("a", "c").add_edge(["b", "c"], "d")
    graph = builder.compile(checkpointer=store)

    with pytest.raises(ValueError, match="not yet"):
        graph.invoke({"n": 1}, CONFIG)
    state = graph.get_state(CONFIG)
    assert state.values == {"n": 1, "log": ["a", "c"]}
    assert state.next == ("b",), "the sibling is done"
    assert {task.name: task.error.message if task.error else None for task in state.tasks} == {
        "b": "not yet",
        "c": None,
    }

    broken.clear()
    assert graph.invoke(None, CONFIG) == {"n": 1, "log": ["a", "b", "c", "d"]}
    assert ran.count("c") == 1, "a finished sibling is not run again"


def test_history_has_every_step(store: Store) -> None:
    graph = chain("a", "b").compile(checkpointer=store)
    graph.invoke({"n": 1}, CONFIG)
    graph.invoke({"n": 2}, CONFIG)

    history = list(graph.get_state_history(CONFIG))

    assert [(s.metadata["step"], s.metadata["source"], s.next) for s in history if s.metadata] == [
        (6, "loop", ()), (5, "loop", ("b",)), (4, "loop", ("a",)), (3, "input", ("__start__",)),
        (2, "loop", ()), (1, "loop", ("b",)), (0, "loop", ("a",)), (-1, "input", ("__start__",)),
    ]  # fmt: skip
    assert [s.parent_config for s in history[:-1]] == [s.config for s in history[1:]]
    assert len(list(graph.get_state_history(CONFIG, limit=3))) == 3
    assert [
        s.metadata["step"] for s in graph.get_state_history(CONFIG, before=history[5].config) if s.metadata
    ] == [0, -1]
    assert len(list(graph.get_state_history(CONFIG, filter={"source": "input"}))) == 2


def test_going_on_from_an_old_checkpoint(store: Store) -> None:
    graph = chain("a", "b").compile(checkpointer=store)
    graph.invoke({"n": 1}, CONFIG)
    old = next(s for s in graph.get_state_history(CONFIG) if s.next == ("b",))

    assert graph.invoke(None, old.config) == {"n": 1, "log": ["a", "b"]}
    assert graph.get_state(CONFIG).values["log"] == ["a", "b"]

    first = list(graph.get_state_history(CONFIG))[-1]
    assert graph.invoke(None, first.config) == {"n": 1, "log": ["a", "b"]}, "from the input itself"


def test_static_interrupts(store: Store) -> None:
    graph = chain("a", "b", "c").compile(checkpointer=store, interrupt_before=["b"], interrupt_after=["b"])

    assert graph.invoke({"n": 1}, CONFIG)["log"] == ["a"]
    stopped = graph.get_state(CONFIG)
    assert stopped.next == ("b",)
    assert graph.invoke(None, CONFIG)["log"] == ["a", "b"]
    assert graph.invoke(None, CONFIG)["log"] == ["a", "b", "c"]
    assert graph.invoke(None, stopped.config)["log"] == ["a", "b"], (
        "a fork passes the interrupt that it starts at"
    )


def test_fan_out_and_join_in_order(store: Store) -> None:
    class Fan(TypedDict, total=False):
        items: list[int]
        seen: Annotated[list[int], operator.add]

    builder = StateGraph(Fan)
    builder.add_node("work", lambda item: {"seen": [item * 2]})
    builder.add_node("join", lambda state: {"items": sorted(state["seen"])})
    builder.add_conditional_edges(START, lambda state: [Send("work", n) for n in state["items"]], ["work"])
    builder.add_edge("work", "join")
    graph = builder.compile(checkpointer=store)

    result = graph.invoke({"items": list(range(40))}, CONFIG)

    assert result["seen"] == [n * 2 for n in range(40)], "in the order of the Sends, not of their ends"


def test_async_nodes_share_the_callers_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def node(state: State) -> State:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return {"n": state["n"] + 1}

    graph = chain("a", "b", a=node, b=node).compile()

    async def main() -> Any:
        result = await graph.ainvoke({"n": 0})
        return result, asyncio.get_running_loop()

    result, loop = asyncio.run(main())
    assert result["n"] == 2
    assert set(loops) == {loop}
    assert graph.invoke({"n": 5})["n"] == 7, "and in a loop of their own where there is none"


@dataclass
class Line:
    name: str
    price: Decimal
    at: datetime


class Order(TypedDict, total=False):
    lines: list[Line]
    tags: set[str]
    pair: tuple[int, bytes]


def test_typed_state_comes_back_as_it_was(store: Store) -> None:
    line = Line("pen", Decimal("1.10"), datetime(2026, 11, 24, tzinfo=UTC))
    builder = StateGraph(Order)
    builder.add_node("fill", lambda state: {"lines": [line], "tags": {"x", "y"}, "pair": (1, b"\0\xff")})
    seen: list[Order] = []
    builder.add_node("look", lambda state: seen.append(state))
    builder.add_edge(START, "fill").add_edge("fill", "look")
    graph = builder.compile(checkpointer=store)

    graph.invoke({}, CONFIG)

    assert seen == [{"lines": [line], "tags": {"x", "y"}, "pair": (1, b"\0\xff")}]
    assert graph.get_state(CONFIG).values == seen[0]


def test_a_value_that_cannot_be_stored_names_its_place(store: Store) -> None:
    graph = chain("a", a=lambda state: {"n": threading.Lock()}).compile(checkpointer=store)

    with pytest.raises(SerializationError, match="lock"):
        graph.invoke({"n": 1}, CONFIG)
    assert graph.get_state(CONFIG).next == ("a",)


def test_what_a_node_changes_in_place_is_not_kept(store: Store) -> None:
    class Lists(TypedDict, total=False):
        kept: list[int]
        log: Annotated[list[int], operator.add]

    def careless(state: Lists) -> Lists:
        state["kept"].append(2)
        state["log"].append(99)
        return {"log": [1]}

    builder = StateGraph(Lists).add_node("careless", careless)
    builder.add_edge(START, "careless")
    graph = builder.compile(checkpointer=store)

    assert graph.invoke({"kept": [1]}, CONFIG) == {"kept": [1], "log": [1]}
    assert graph.get_state(CONFIG).values == {"kept": [1], "log": [1]}


def test_retries_and_runtime(store: Store) -> None:
    seen: list[Runtime] = []

    def node(state: State, runtime: Runtime) -> State:
        seen.append(runtime)
        if runtime.attempt < 3:
            raise ConnectionError("again")
        return {"n": runtime.attempt}

    builder = StateGraph(State)
    builder.add_node("a", node, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    builder.add_edge(START, "a")
    graph = builder.compile(checkpointer=store)

    assert graph.invoke({}, CONFIG)["n"] == 3
    assert len({(r.thread_id, r.run_id, r.task_id, r.idempotency_key) for r in seen}) == 1
    assert seen[0].thread_id == "t"
    assert [r.node for r in seen] == ["a"] * 3


def test_the_recursion_limit_counts_from_the_runs_start(store: Store) -> None:
    builder = StateGraph(State)
    builder.add_node("spin", lambda state: {"n": state["n"] + 1})
    builder.add_edge(START, "spin")
    builder.add_conditional_edges("spin", lambda state: "spin" if state["n"] < 4 else END, ["spin", END])
    graph = builder.compile(checkpointer=store)

    for _ in range(3):
        assert graph.invoke({"n": 0}, {**CONFIG, "recursion_limit": 5})["n"] == 4
    with pytest.raises(GraphRecursionError, match="recursion_limit"):
        graph.invoke({"n": 0}, {**CONFIG, "recursion_limit": 3})


def test_a_router_that_raises_keeps_the_output(store: Store) -> None:
    ran: list[int] = []
    broken = [True]

    def node(state: State) -> State:
        ran.append(1)
        return {"n": 7}

    def router(state: State) -> str:
        if broken[0]:
            raise RuntimeError("no way")
        return END

    builder = StateGraph(State).add_node("a", node)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", router, [END])
    graph = builder.compile(checkpointer=store)

    with pytest.raises(RuntimeError, match="no way"):
        graph.invoke({"n": 1}, CONFIG)
    broken[0] = False
    assert graph.invoke(None, CONFIG)["n"] == 7
    assert ran == [1], "a replay settles again without running the node"


def test_two_writes_without_a_reducer_fail_the_run(store: Store) -> None:
    builder = StateGraph(State)
    builder.add_node("a", lambda state: {"n": 1}).add_node("b", lambda state: {"n": 2})
    builder.add_edge(START, "a").add_edge(START, "b")

    with pytest.raises(InvalidUpdateError, match="'n'"):
        builder.compile(checkpointer=store).invoke({}, CONFIG)


def test_a_busy_thread_is_refused(store: Store) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(state: State) -> State:
        started.set()
        assert go.wait(10)
        return {"n": 2}

    graph = chain("a", a=slow).compile(checkpointer=store)
    first = threading.Thread(target=graph.invoke, args=({"n": 1}, CONFIG))
    first.start()
    assert started.wait(10)
    with pytest.raises(ThreadBusyError, match="'t'"):
        graph.invoke({"n": 5}, CONFIG)
    with pytest.raises(ThreadBusyError):
        graph.invoke(None, CONFIG)
    go.set()
    first.join()
    assert graph.get_state(CONFIG).values == {"n": 2, "log": []}


def test_clear_errors() -> None:
    graph = chain("a").compile(checkpointer=MemoryStore())

    with pytest.raises(InputError, match="thread_id"):
        graph.invoke({"n": 1})
    with pytest.raises(InputError, match="no checkpoint"):
        graph.invoke(None, CONFIG)
    with pytest.raises(InvalidUpdateError, match="dict of state keys"):
        graph.invoke(["n"], CONFIG)
    with pytest.raises(InputError, match="recursion_limit"):
        graph.invoke({}, {**CONFIG, "recursion_limit": 0})
    with pytest.raises(InputError, match="nope"):
        graph.get_state({"configurable": {"thread_id": "t", "checkpoint_id": "nope"}})
    assert graph.get_state(CONFIG).values == {}


class FiveMethods(CheckpointStore):
    """The least that an adapter may be."""

    def __init__(self) -> None:
        self.kept: dict[str, Checkpoint] = {}

    def save(self, checkpoint: Checkpoint) -> str:
        self.kept[checkpoint.id] = checkpoint
        return checkpoint.id

    def load(self, checkpoint_id: str) -> Checkpoint:
        try:
            return self.kept[checkpoint_id]
        except KeyError:
            raise NotFoundError(checkpoint_id) from None

    def list(self, thread_id: str) -> list[Checkpoint]:
        return [c for c in reversed(self.kept.values()) if c.thread_id == thread_id]

    def delete(self, checkpoint_id: str) -> None:
        self.kept.pop(checkpoint_id, None)

    def clear(self, thread_id: str) -> None:
        self.kept = {key: c for key, c in self.kept.items() if c.thread_id != thread_id}


def test_a_five_method_store_serves_as_checkpointer() -> None:
    shelf = FiveMethods()
    chain("a", "b").compile(checkpointer=shelf).invoke({"n": 1}, CONFIG)
    assert [c.state["log"] for c in shelf.list("t") if c.next == ()] == [["a", "b"]]

    again = chain("a", "b").compile(checkpointer=shelf)
    assert again.get_state(CONFIG).values == {"n": 1, "log": ["a", "b"]}
    assert again.invoke({"n": 2}, CONFIG) == {"n": 2, "log": ["a", "b", "a", "b"]}
    assert shelf.list("t")[0].state == {"n": 2, "log": ["a", "b", "a", "b"]}
