"""Long-term memory and cached nodes on every store, in process and on a worker."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    END,
    START,
    CachePolicy,
    Client,
    CompiledGraph,
    LongTermMemory,
    Runtime,
    Settings,
    StateGraph,
)
from petiole_stores.ids import new_id
from petiole_stores.items import NewItem
from petiole_stores.store import Store
from petiole_workers.celery.janitor import Janitor
from petiole_workers.long_term import SearchItem
from tests.unit.driving import drive


class State(TypedDict, total=False):
    user: str
    seen: int
    found: list[str]
    log: Annotated[list[str], operator.add]


class Visits:
    """A graph whose first node remembers across threads, and whose second one is cached by user."""

    def __init__(self) -> None:
        self.space = (new_id(), "visits")
        self.greeted: list[str] = []
        graph = StateGraph(State).add_node("remember", self.remember)
        graph.add_node("greet", self.greet, cache_policy=CachePolicy(key_func=lambda state: state["user"]))
        graph.add_edge(START, "remember").add_edge("remember", "greet").add_edge("greet", END)
        self.builder, self.name = graph, f"visits-{new_id()}"

    def remember(self, state: State, runtime: Runtime) -> State:
        memory: LongTermMemory = runtime.store
        known = memory.get(self.space, state["user"])
        seen = known.value["seen"] + 1 if known else 1
        memory.put(self.space, state["user"], {"seen": seen, "thread": runtime.thread_id}, ttl=60)
        often: list[SearchItem] = memory.search(self.space, filter={"seen": {"$gte": 2}})
        return {"seen": seen, "found": [item.key for item in often]}

    def greet(self, state: State) -> State:
        self.greeted.append(state["user"])
        return {"log": [f"hello {state['user']} " + "!" * 5000]}

    def compile(self, *options: Any) -> CompiledGraph:
        return self.builder.compile(*options, name=self.name)


@pytest.mark.parametrize("where", ["in process", "on a worker"])
def test_nodes_remember_and_are_cached(store: Store, where: str) -> None:
    visits = Visits()
    graph = visits.compile(store)

    def run(user: str, thread: str) -> Any:
        thread_id = f"{visits.space[0]}-{thread}"
        if where == "in process":
            return graph.invoke({"user": user}, {"configurable": {"thread_id": thread_id}})
        with Client(store, settings=Settings()) as client:
            handle = client.submit(visits.name, {"user": user}, thread_id=thread_id)
            drive(store, graph)
            return handle.result(0)

    results = [run(user, thread) for user, thread in (("ann", "1"), ("bea", "2"), ("ann", "3"), ("ann", "3"))]
    assert [result["seen"] for result in results] == [1, 1, 2, 3]
    assert [result["found"] for result in results] == [[], [], ["ann"], ["ann"]]
    assert [len(result["log"]) for result in results] == [1, 1, 1, 2]
    assert visits.greeted == ["ann", "bea"]
    memory = LongTermMemory(store)
    kept = memory.get(visits.space, "ann")
    assert kept is not None
    assert kept.value == {"seen": 3, "thread": f"{visits.space[0]}-3"}
    assert memory.list_namespaces(prefix=visits.space[:1]) == [visits.space]
    graph.clear_cache(["greet"])
    run("ann", "4")
    with Client(store, settings=Settings()) as client:
        client.clear_cache(visits.name, ["remember"])
        run("ann", "5")
        assert visits.greeted == ["ann", "bea", "ann"]
        client.clear_cache(graph)
        run("ann", "6")
        assert visits.greeted == ["ann", "bea", "ann", "ann"]
        assert client.memory.search(visits.space, filter={"seen": 6})[0].key == "ann"


def test_the_janitor_purges_what_is_over(store: Store) -> None:
    class Context:
        settings = Settings(housekeeping=60.0)
        holder = "h"

    Context.store = store  # type: ignore[attr-defined]
    space, now = (new_id(),), 1000.0
    store.clock = lambda: now
    store.put_items([NewItem(space, "short", "1", ttl=5.0), NewItem(space, "long", "1")])
    now = 2000.0
    janitor = Janitor(Context())  # type: ignore[arg-type]
    janitor._cursor = store.latest()
    janitor.tick()
    now = 0.0  # when both would be found
    assert [item.key for item in store.search_items(space)] == ["long"]
