"""``runtime.store``: LangGraph's long-term memory, held against LangGraph's own store."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, TypedDict

import pytest
from langgraph.store.memory import InMemoryStore

from petiole_stores.codec import AesGcmCodec
from petiole_stores.errors import CorruptionError, InputError, StoreUnavailableError
from petiole_stores.faults import FaultPlan, FaultyStore, fail_before
from petiole_stores.items import NewItem
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_workers.graph import END, START, Runtime, StateGraph
from petiole_workers.long_term import LongTermMemory, SemanticSearchError
from tests.unit.engine.bench import Bench, State

USER = ("users", "ann")


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.now = 1000.0  # type: ignore[attr-defined]

    def clock() -> float:
        store.now += 1  # type: ignore[attr-defined]
        return store.now  # type: ignore[attr-defined, no-any-return]

    store.clock = clock
    return store


@pytest.fixture
def memory(store: MemoryStore) -> LongTermMemory:
    return LongTermMemory(store)


def test_what_is_put_is_got(memory: LongTermMemory) -> None:
    value = {
        "name": "Ann",
        "born": datetime(1990, 1, 2, tzinfo=UTC),
        "tags": ("a", "b"),
        "raw": b"\x00" * 9000,
    }
    memory.put(USER, "profile", value)
    found = memory.get(USER, "profile")
    assert found is not None
    assert (found.namespace, found.key, found.value) == (USER, "profile", value)
    assert found.created_at == found.updated_at == datetime.fromtimestamp(1001, UTC)
    assert found.dict()["created_at"] == "1970-01-01T00:16:41+00:00"
    memory.put(USER, "profile", {"name": "Bea"})
    again = memory.get(USER, "profile")
    assert again is not None
    assert (again.value, again.created_at) == ({"name": "Bea"}, found.created_at)
    assert again.updated_at > found.updated_at
    memory.delete(USER, "profile")
    memory.delete(USER, "profile")
    assert memory.get(USER, "profile") is None


def filled(memory: Any) -> Any:
    for namespace, key, value in [
        (("users", "ann"), "a", {"n": 1, "kind": "x", "deep": {"m": 1, "k": "v"}, "list": [1, {"a": 2}]}),
        (("users", "ann"), "b", {"n": 2.5, "kind": "y", "deep": {"m": 2}, "list": [1]}),
        (("users", "ann", "notes"), "c", {"n": 3, "kind": "x", "deep": None}),
        (("users", "bea"), "d", {"n": -1, "kind": "x", "list": []}),
        (("docs",), "e", {"n": "7", "kind": None}),
    ]:
        memory.put(namespace, key, value)
    return memory


@pytest.mark.parametrize(
    "filter",
    [
        None,
        {},
        {"kind": "x"},
        {"kind": None},
        {"n": 1},
        {"n": {"$eq": 2.5}},
        {"n": {"$ne": 1}},
        {"n": {"$gt": 1, "$lt": 7}},
        {"n": {"$gte": 1}, "kind": "x"},
        {"n": {"$lte": "3"}},
        {"deep": {"m": 1}},
        {"deep": {"m": {"$eq": 2}}},
        {"deep": {"none": None}},
        {"list": [1, {"a": 2}]},
        {"list": [1, {"a": {"$eq": 2}}]},
        {"list": []},
        {"missing": None},
    ],
)
def test_filters_are_langgraphs(memory: LongTermMemory, filter: dict[str, Any] | None) -> None:
    theirs, ours = filled(InMemoryStore()), filled(memory)
    for prefix in ((), ("users",), ("users", "ann"), ("docs",), ("none",)):
        wanted = sorted((item.namespace, item.key) for item in theirs.search(prefix, filter=filter))
        found = sorted((item.namespace, item.key) for item in ours.search(prefix, filter=filter))
        assert found == wanted, prefix


def test_values_without_an_order_do_not_match(memory: LongTermMemory) -> None:
    """LangGraph's own raises TypeError for the first item that lacks the key."""
    filled(memory)
    assert [item.key for item in memory.search((), filter={"list": {"$gt": 1}})] == []
    assert [item.key for item in memory.search((), filter={"kind": {"$gte": "y"}})] == ["b"]
    with pytest.raises(InputError, match=r"\$like.*\$gte"):
        memory.search((), filter={"n": {"$like": 1}})


def test_search_gives_pages_newest_first(memory: LongTermMemory) -> None:
    for n in range(450):
        memory.put(("n",), f"k{n:03}", {"n": n, "odd": n % 2})
    assert [item.value["n"] for item in memory.search(("n",))] == [*range(449, 439, -1)]
    assert [item.value["n"] for item in memory.search(("n",), limit=3, offset=440)] == [9, 8, 7]
    assert [item.value["n"] for item in memory.search(("n",), filter={"odd": 1}, limit=3, offset=222)] == [
        5,
        3,
        1,
    ]
    assert len(memory.search(("n",), limit=5000)) == 450
    assert memory.search(("n",), limit=0) == []
    assert all(item.score is None and item.dict()["score"] is None for item in memory.search(("n",)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix": ("users",)},
        {"suffix": ("notes",)},
        {"prefix": ("users", "*"), "suffix": ("*",)},
        {"prefix": ("*", "ann")},
        {"max_depth": 1},
        {"max_depth": 2, "prefix": ("users",)},
        {"limit": 2, "offset": 1},
        {"prefix": ("none",)},
    ],
)
def test_namespaces_are_listed_as_langgraph_does(memory: LongTermMemory, options: dict[str, Any]) -> None:
    wanted = filled(InMemoryStore()).list_namespaces(**options)
    assert filled(memory).list_namespaces(**options) == wanted


def test_items_live_on_for_their_minutes(store: MemoryStore, memory: LongTermMemory) -> None:
    store.clock = lambda: store.now  # type: ignore[attr-defined]

    def pass_minutes(minutes: float) -> None:
        store.now += minutes * 60  # type: ignore[attr-defined]

    for key in ("read", "searched", "untouched", "looked"):
        memory.put(USER, key, {"key": key}, ttl=10)
    memory.put(USER, "forever", {"key": "forever"})
    pass_minutes(9)
    memory.get(USER, "read")
    memory.get(USER, "looked", refresh_ttl=False)
    memory.search(USER, filter={"key": "searched"})
    memory.search(USER, refresh_ttl=False)
    pass_minutes(9)
    kept = {item.key for item in memory.search(USER, refresh_ttl=False)}
    assert kept == {"read", "searched", "forever"}
    pass_minutes(2)
    assert {item.key for item in memory.search(USER)} == {"forever"}
    mortal = LongTermMemory(store, default_ttl=1, refresh_on_read=False)
    mortal.put(USER, "short", {})
    mortal.put(USER, "long", {}, ttl=None)
    pass_minutes(0.9)
    mortal.get(USER, "short")
    pass_minutes(0.2)
    assert {item.key for item in mortal.search(USER)} == {"forever", "long"}


def test_search_by_meaning_is_refused(memory: LongTermMemory) -> None:
    with pytest.raises(SemanticSearchError, match="no search by meaning"):
        memory.search(USER, query="who likes pizza")
    with pytest.raises(NotImplementedError, match="index"):
        memory.put(USER, "k", {"text": "t"}, index=["text"])
    memory.put(USER, "k", {"text": "t"}, index=False)
    assert [item.value for item in memory.search(USER)] == [{"text": "t"}]


@pytest.mark.parametrize(
    ("namespace", "key", "value", "ttl"),
    [
        ((), "k", {}, None),
        ("users", "k", {}, None),
        (("users", ""), "k", {}, None),
        (("users", 7), "k", {}, None),
        (USER, "", {}, None),
        (USER, 7, {}, None),
        (USER, "k", [1], None),
        (USER, "k", {1: 2}, None),
        (USER, "k", {}, 0),
        (USER, "k", {}, -1),
    ],
)
def test_what_cannot_be_put(memory: LongTermMemory, namespace: Any, key: Any, value: Any, ttl: Any) -> None:
    with pytest.raises(InputError):
        memory.put(namespace, key, value, ttl=ttl)
    assert memory.search(()) == []


def test_async_twins(memory: LongTermMemory) -> None:
    async def use() -> None:
        await memory.aput(USER, "k", {"n": 1}, ttl=5)
        found = await memory.aget(USER, "k")
        assert found is not None
        assert found.value == {"n": 1}
        assert [item.key for item in await memory.asearch(USER, filter={"n": 1})] == ["k"]
        assert await memory.alist_namespaces(prefix=("users",)) == [USER]
        await memory.adelete(USER, "k")
        assert await memory.aget(USER, "k") is None

    asyncio.run(use())


def test_nothing_of_the_engines_own_is_shown(store: MemoryStore, memory: LongTermMemory) -> None:
    store.put_items([NewItem(("petiole", "signals", "t"), "k", "1"), NewItem(("cache", "g", "n"), "k", "1")])
    memory.put(("cache", "g", "n"), "mine", {})
    assert [item.key for item in memory.search(())] == ["mine"]
    assert memory.list_namespaces() == [("cache", "g", "n")]
    assert memory.get(("cache", "g", "n"), "k") is None


def test_values_are_encrypted_and_bound_to_their_place(store: MemoryStore, memory: LongTermMemory) -> None:
    store.serde = type(store.serde)(codec=AesGcmCodec({"k": b"1" * 32}))
    memory.put(USER, "a", {"secret": "pizza"})
    memory.put(USER, "b", {"secret": "pasta"})
    stored = store._items
    assert all(b"p" + b"izza" not in item.sealed.data for item in stored.values())
    one, other = sorted(stored)
    stored[one] = type(stored[one])(
        **{name: getattr(stored[one], name) for name in stored[one].__struct_fields__}
        | {"sealed": stored[other].sealed}
    )
    with pytest.raises(CorruptionError, match="'a'"):
        memory.get(USER, "a")


# ---------------------------------------------------------------- in nodes


class Asked(TypedDict, total=False):
    user: str
    seen: int


def visit(state: Asked, runtime: Runtime) -> Asked:
    """Counts the visits of a user across threads."""
    found = runtime.store.get(("visits",), state["user"])
    seen = (found.value["n"] if found else 0) + 1
    runtime.store.put(("visits",), state["user"], {"n": seen})
    return {"seen": seen}


async def avisit(state: Asked, runtime: Runtime) -> Asked:
    found = await runtime.store.aget(("visits",), state["user"])
    seen = (found.value["n"] if found else 0) + 1
    await runtime.store.aput(("visits",), state["user"], {"n": seen})
    return {"seen": seen}


def visiting(node: Any = visit) -> StateGraph:
    return StateGraph(Asked).add_node("visit", node).add_edge(START, "visit").add_edge("visit", END)


def run(graph: Any, user: str, thread: str) -> Any:
    return graph.invoke({"user": user}, {"configurable": {"thread_id": thread}})["seen"]


@pytest.mark.parametrize("node", [visit, avisit])
def test_it_is_shared_by_the_threads_of_a_store(node: Any) -> None:
    store = MemoryStore()
    graph = visiting(node).compile(store)
    assert [run(graph, "ann", thread) for thread in ("1", "2", "2")] == [1, 2, 3]
    assert run(graph, "bea", "3") == 1
    found = LongTermMemory(store).get(("visits",), "ann")
    assert found is not None
    assert found.value == {"n": 3}


def test_a_graph_may_have_a_store_of_its_own(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/memory.db"
    graph = visiting().compile(store=url)
    assert [graph.invoke({"user": "ann"})["seen"] for _ in range(2)] == [1, 2]
    with open_store(url) as store:
        assert LongTermMemory(store).list_namespaces() == [("visits",)]
        assert store.newest_run("1") is None
    theirs = InMemoryStore()
    graph = visiting().compile(MemoryStore(), store=theirs)
    assert [run(graph, "ann", thread) for thread in "12"] == [1, 2]
    assert [item.value for item in theirs.search(("visits",))] == [{"n": 2}]
    memory = LongTermMemory(MemoryStore(), default_ttl=5)
    assert visiting().compile(store=memory).store is memory


def test_a_store_that_is_away_for_a_moment_is_waited_for() -> None:
    store = FaultyStore(
        MemoryStore(), FaultPlan(fail_before("get_items", nth=1), fail_before("put_items", nth=1))
    )
    assert run(visiting().compile(store), "ann", "1") == 1
    assert {name for name, *_ in store.plan.struck} == {"get_items", "put_items"}
    with pytest.raises(StoreUnavailableError):
        LongTermMemory(FaultyStore(MemoryStore(), FaultPlan(fail_before("get_items")))).get(USER, "k")


def test_a_workers_nodes_have_it_too() -> None:
    def note(state: State, runtime: Runtime) -> State:
        runtime.store.put(("notes",), runtime.thread_id, {"n": state["n"]})
        return {"log": [str(len(runtime.store.search(("notes",))))]}

    bench = Bench(StateGraph(State).add_node("note", note).add_edge(START, "note"))
    for thread in ("a", "b"):
        bench.submit({"n": 1}, thread_id=thread)
    bench.drain()
    assert sorted(item.key for item in LongTermMemory(bench.store).search(("notes",))) == ["a", "b"]
