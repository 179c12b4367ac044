"""``CachePolicy``: a node's result is used again for the same input, and nothing else is."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.graph import StateGraph as TheirGraph
from langgraph.types import CachePolicy as TheirPolicy

from petiole_stores.codec import AesGcmCodec
from petiole_stores.errors import GraphValidationError, InputError
from petiole_stores.faults import FaultPlan, FaultyStore, fail_before
from petiole_stores.memory import MemoryStore
from petiole_stores.serde import Serde
from petiole_workers.graph import END, START, CachePolicy, Command, Runtime, Send, StateGraph, interrupt
from tests.unit.engine.bench import Bench


class State(TypedDict, total=False):
    n: int
    other: int
    log: Annotated[list[str], operator.add]
    big: bytes


class Node:
    """Counts its calls and answers what it is told to."""

    def __init__(self, answer: Callable[[State], Any] = lambda state: {"log": [f"ran {state['n']}"]}) -> None:
        self.calls: list[int] = []
        self._answer = answer

    def __call__(self, state: State) -> Any:
        self.calls.append(state["n"])
        return self._answer(state)


def lone(node: Callable[..., Any], policy: CachePolicy | None = CachePolicy(), **options: Any) -> StateGraph:  # noqa: B008
    graph = StateGraph(State).add_node("slow", node, cache_policy=policy, **options)
    return graph.add_edge(START, "slow").add_edge("slow", END)


def on(store: MemoryStore, builder: StateGraph, **options: Any) -> Callable[..., Any]:
    graph = builder.compile(store, name="g", **options)

    def invoke(thread: str, **input: Any) -> Any:
        return graph.invoke(input, {"configurable": {"thread_id": thread}})

    invoke.graph = graph  # type: ignore[attr-defined]
    return invoke


def test_the_same_input_runs_once_whatever_the_thread() -> None:
    node = Node()
    invoke = on(MemoryStore(), lone(node))
    assert [invoke(thread, n=n)["log"] for thread, n in (("1", 1), ("2", 1), ("3", 2), ("4", 1))] == [
        ["ran 1"],
        ["ran 1"],
        ["ran 2"],
        ["ran 1"],
    ]
    assert node.calls == [1, 2]


def test_history_says_what_was_cached() -> None:
    invoke = on(MemoryStore(), lone(Node()))
    shown = []
    for thread in ("1", "2"):
        invoke(thread, n=1)
        history = [*invoke.graph.get_state_history({"configurable": {"thread_id": thread}})]  # type: ignore[attr-defined]
        shown.append([state.metadata.get("cached") for state in history])
        assert history[1].tasks[0].result == {"log": ["ran 1"]}
    assert shown == [[None, None, None], [["pull:slow"], None, None]]


def test_a_result_is_used_for_its_time() -> None:
    store, now = MemoryStore(), [1000.0]
    store.clock = lambda: now[0]
    node = Node()
    invoke = on(store, lone(node, CachePolicy(ttl=10)))
    for thread, seconds in enumerate((0.0, 9.0, 2.0, 9.0)):
        now[0] += seconds
        invoke(str(thread), n=1)
    assert node.calls == [1, 1], "a hit does not prolong it"


def test_key_func_says_what_counts() -> None:
    node = Node()
    invoke = on(MemoryStore(), lone(node, CachePolicy(key_func=lambda state: str(state["n"] % 10))))
    assert [invoke(str(n), n=n)["log"] for n in (1, 11, 2, 21)] == [
        ["ran 1"],
        ["ran 1"],
        ["ran 2"],
        ["ran 1"],
    ]
    raw = on(MemoryStore(), lone(node, CachePolicy(key_func=lambda state: bytes([state["n"]]))))
    assert raw("1", n=7)["log"] == raw("2", n=7)["log"] == ["ran 7"]
    wrong = on(MemoryStore(), lone(node, CachePolicy(key_func=lambda state: state["n"])))
    with pytest.raises(InputError, match="key_func of node 'slow' gave 1"):
        wrong("1", n=1)


def test_without_a_key_func_the_whole_input_counts() -> None:
    node = Node()
    invoke = on(MemoryStore(), lone(node))
    invoke("1", n=1, other=1)
    invoke("2", n=1, other=2)
    assert node.calls == [1, 1]


def test_failures_are_not_kept() -> None:
    broken = [True, True, False]

    def answer(state: State) -> State:
        if broken.pop(0):
            raise ValueError("broken")
        return {"log": ["ran"]}

    node = Node(answer)
    invoke = on(MemoryStore(), lone(node))
    for thread in ("1", "2"):
        with pytest.raises(ValueError, match="broken"):
            invoke(thread, n=1)
    assert invoke("3", n=1)["log"] == invoke("4", n=1)["log"] == ["ran"]
    assert node.calls == [1, 1, 1]


def test_what_somebody_answered_is_not_kept() -> None:
    """An answer was given to one thread: another one with the same input asks for itself."""
    builder = StateGraph(State).add_node(
        "ask", lambda state: {"other": interrupt("well?")}, cache_policy=CachePolicy()
    )
    graph = builder.add_edge(START, "ask").compile(MemoryStore())
    for thread in ("1", "2"):
        config = {"configurable": {"thread_id": thread}}
        assert graph.invoke({"n": 1}, config)["__interrupt__"][0].value == "well?"
        assert graph.invoke(Command(resume=int(thread)), config)["other"] == int(thread)


def test_what_was_answered_within_a_graph_that_the_node_calls_is_not_kept() -> None:
    inner = StateGraph(State).add_node(
        "ask", lambda state: {"other": interrupt("well?")}, cache_policy=CachePolicy()
    )
    called = inner.add_edge(START, "ask").compile()
    builder = StateGraph(State).add_node("call", lambda state: {"other": called.invoke(state)["other"]})
    builder.set_node_defaults(cache_policy=CachePolicy())
    graph = builder.add_edge(START, "call").compile(MemoryStore())
    for thread in ("1", "2"):
        config = {"configurable": {"thread_id": thread}}
        graph.invoke({"n": 1}, config)
        assert graph.invoke(Command(resume=int(thread)), config)["other"] == int(thread)


def test_what_an_error_handler_gave_is_not_kept() -> None:
    def fail(state: State) -> State:
        raise ValueError("broken")

    node = Node(fail)
    invoke = on(MemoryStore(), lone(node, error_handler=lambda state: {"log": ["handled"]}))
    assert invoke("1", n=1)["log"] == invoke("2", n=1)["log"] == ["handled"]
    assert node.calls == [1, 1]


def test_commands_and_sends_are_kept_with_the_writes() -> None:
    node = Node(lambda state: Command(update={"log": ["led"]}, goto=[Send("leaf", {"n": 5}), "plain"]))
    graph = StateGraph(State).add_node("slow", node, cache_policy=CachePolicy())
    graph.add_node("leaf", lambda state: {"log": [f"leaf {state['n']}"]})
    graph.add_node("plain", lambda state: {"log": ["plain"]}).add_edge(START, "slow")
    invoke = on(MemoryStore(), graph)
    first, second = invoke("1", n=1), invoke("2", n=1)
    assert first["log"] == second["log"]
    assert sorted(first["log"]) == ["leaf 5", "led", "plain"]
    assert node.calls == [1]


def test_branches_of_a_fan_out_are_cached_each_by_itself() -> None:
    node = Node()
    graph = StateGraph(State).add_node("slow", node, cache_policy=CachePolicy())
    graph.add_conditional_edges(START, lambda state: [Send("slow", {"n": n % 2}) for n in range(state["n"])])
    invoke = on(MemoryStore(), graph)
    assert sorted(invoke("1", n=2)["log"]) == ["ran 0", "ran 1"]
    assert sorted(invoke("2", n=4)["log"]) == ["ran 0", "ran 0", "ran 1", "ran 1"]
    assert sorted(node.calls) == [0, 1]
    history = [*invoke.graph.get_state_history({"configurable": {"thread_id": "2"}})]  # type: ignore[attr-defined]
    assert history[0].metadata["cached"] == [f"push:{n:010d}" for n in range(4)]


@pytest.mark.parametrize("codec", [None, AesGcmCodec({"k": b"1" * 32})], ids=["open", "encrypted"])
def test_large_results_come_back(codec: AesGcmCodec | None) -> None:
    store = MemoryStore()
    store.serde = Serde(codec=codec)
    node = Node(lambda state: {"big": bytes(range(256)) * 100, "log": ["x" * 5000]})
    invoke = on(store, lone(node))
    assert invoke("1", n=1) == invoke("2", n=1)
    assert node.calls == [1]
    if codec:
        assert all(b"xxxx" not in item.sealed.data for item in store._items.values())


def test_a_store_that_is_away_is_no_failure() -> None:
    node = Node()
    plan = FaultPlan(fail_before("get_items"), fail_before("put_items"))
    invoke = on(FaultyStore(MemoryStore(), plan), lone(node))  # type: ignore[arg-type]
    assert invoke("1", n=1)["log"] == invoke("2", n=1)["log"] == ["ran 1"]
    assert node.calls == [1, 1]
    assert len(plan.struck) == 4


def test_a_damaged_result_is_no_failure() -> None:
    store, node = MemoryStore(), Node()
    invoke = on(store, lone(node))
    invoke("1", n=1)
    [(place, item)] = store._items.items()
    fields = {name: getattr(item, name) for name in item.__struct_fields__}
    damaged = type(item.sealed)(item.sealed.codec, b"x" + item.sealed.data, item.sealed.checksum)
    store._items[place] = type(item)(**fields | {"sealed": damaged})
    assert invoke("2", n=1)["log"] == invoke("3", n=1)["log"] == ["ran 1"]
    assert node.calls == [1, 1]


def test_clear_cache() -> None:
    store, node = MemoryStore(), Node()
    invoke = on(store, lone(node))
    other = on(
        store, lone(Node()).add_node("none", Node(), cache_policy=CachePolicy()).add_edge("slow", "none")
    )
    graph = invoke.graph  # type: ignore[attr-defined]
    invoke("1", n=1)
    other("o", n=2)
    other.graph.clear_cache(["none"])  # type: ignore[attr-defined]
    invoke("2", n=1)
    assert node.calls == [1]
    graph.clear_cache(["slow"])
    invoke("3", n=1)
    assert node.calls == [1, 1]
    graph.clear_cache()
    invoke("4", n=1)
    assert node.calls == [1, 1, 1]
    with pytest.raises(InputError, match="no node 'gone'"):
        graph.clear_cache(["gone"])


def test_graphs_nodes_and_versions_do_not_share() -> None:
    store = MemoryStore()
    nodes = [Node() for _ in range(3)]
    on(store, lone(nodes[0]))("1", n=1)
    on(store, lone(nodes[1]), version="2")("2", n=1)
    lone(nodes[2]).compile(store, name="h").invoke({"n": 1}, {"configurable": {"thread_id": "3"}})
    assert [node.calls for node in nodes] == [[1], [1], [1]]


@pytest.mark.parametrize(
    ("policy", "match"),
    [
        ("yes", "give CachePolicy"),
        (CachePolicy(ttl=0), "ttl is 0"),
        (CachePolicy(key_func="n"), "key_func is 'n'"),  # type: ignore[arg-type]
    ],
)
def test_a_policy_that_cannot_be(policy: Any, match: str) -> None:
    with pytest.raises(GraphValidationError, match=match):
        lone(Node(), policy)


def test_langgraph_runs_as_often() -> None:
    """The same graph over the same inputs: the node runs for the same ones."""

    def build(kind: Any, policy: Any, node: Node) -> Any:
        graph = kind(State)
        graph.add_node("slow", node.__call__, cache_policy=policy)
        graph.add_edge("__start__", "slow")
        return graph

    ours, theirs = Node(), Node()
    mine = build(StateGraph, CachePolicy(key_func=lambda state: str(state["n"])), ours).compile(MemoryStore())
    cached = build(TheirGraph, TheirPolicy(key_func=lambda state: str(state["n"])), theirs).compile(
        cache=InMemoryCache()
    )
    for thread, n in enumerate((1, 2, 1, 3, 2)):
        config = {"configurable": {"thread_id": str(thread)}}
        assert mine.invoke({"n": n, "log": []}, config) == cached.invoke({"n": n, "log": []})
    assert ours.calls == theirs.calls == [1, 2, 3]


def test_workers_share_results() -> None:
    node = Node()

    def slow(state: Any, runtime: Runtime) -> Any:
        return node({"n": state["n"]})

    graph = StateGraph(State).add_node("slow", slow, cache_policy=CachePolicy()).add_edge(START, "slow")
    bench = Bench(graph)
    for thread in "abc":
        bench.submit({"n": 1}, thread_id=thread)
    bench.drain()
    assert node.calls == [1]
    heads = [bench.store.head(thread) for thread in "abc"]
    assert sorted("cached" in head.metadata for head in heads if head) == [False, True, True]
