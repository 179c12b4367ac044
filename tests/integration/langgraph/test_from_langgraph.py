"""LangGraph graphs as they are, run by LangGraph and by Petiole: both see the same."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import CachePolicy, Command, Interrupt, Overwrite, RetryPolicy, Send, interrupt

from petiole.langgraph import from_langgraph
from petiole.testing import LocalWorker
from petiole_stores.errors import GraphValidationError
from petiole_stores.opening import open_store
from petiole_workers.compiled import CompiledGraph

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
Play = Callable[[Any], list[Any]]


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    x: int


class Outer(TypedDict, total=False):
    log: list[str]
    x: int


def says(name: str) -> Callable[[State], State]:
    return lambda state: {"log": [name]}


def fan() -> StateGraph[Any, Any, Any, Any]:
    """a diamond with a join, packets, a loop by Commands and a deferred end."""

    def a(state: State, config: RunnableConfig) -> State:
        return {"log": [f"a {config['configurable']['thread_id']}"], "x": 2}

    def loop(state: State) -> Command[Any]:
        left = state["x"] - 1
        return Command(
            update={"x": left, "log": [f"loop {left}"]}, goto="loop" if left else [Send("work", {"n": 9})]
        )

    builder = StateGraph(State)
    builder.add_node("a", a)
    builder.add_node("b", RunnableLambda(says("b")))
    builder.add_node("c", says("c"))
    builder.add_node("d", says("d"))
    builder.add_node("loop", loop, destinations=("loop", "work"))
    builder.add_node("work", lambda packet: {"log": [f"work {packet['n']}"]})
    builder.add_node("reset", lambda state: {"log": Overwrite([str(len(state["log"]))])})
    builder.add_node("end", says("end"), defer=True)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "c")
    builder.add_edge(["b", "c"], "d")
    builder.add_conditional_edges("d", lambda state: [Send("work", {"n": n}) for n in range(3)] + ["loop"])
    builder.add_conditional_edges("c", lambda state: "yes", {"yes": "end", "no": END})
    builder.add_edge("end", "reset")
    return builder


def asking() -> StateGraph[Any, Any, Any, Any]:
    """Two questions of one node beside one of a graph two levels down."""

    def ask(state: State) -> State:
        first = interrupt("first?")
        return {"log": [f"{first} {interrupt({'second': first})}"]}

    innermost = StateGraph(State)
    innermost.add_node("q", lambda state: {"log": [f"q {interrupt('within?')}"]})
    innermost.add_edge(START, "q")
    inner = StateGraph(State)
    inner.add_node("i", says("i"))
    inner.add_node("deeper", innermost.compile())
    inner.add_edge(START, "i")
    inner.add_edge("i", "deeper")
    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("inner", inner.compile())
    builder.add_node("z", says("z"))
    builder.add_edge(START, "ask")
    builder.add_edge(START, "inner")
    builder.add_edge(["ask", "inner"], "z")
    return builder


def leaving() -> StateGraph[Any, Any, Any, Any]:
    def leave(state: State) -> Command[Any]:
        return Command(graph=Command.PARENT, update={"x": 9, "log": ["left"]}, goto="other")

    inner = StateGraph(State)
    inner.add_node("leave", leave)
    inner.add_edge(START, "leave")
    builder = StateGraph(Outer)
    builder.add_node("inner", inner.compile())
    builder.add_node("other", lambda state: {"log": [*state["log"], "other"]})
    builder.add_edge(START, "inner")
    return builder


def plain(state: Any) -> Any:
    metadata = state.metadata or {}
    return state.values, state.next, metadata.get("source"), metadata.get("step")


def told(chunk: dict[str, Any]) -> str:
    """An update as text; what overwrites is a class of either library."""
    plainly = {
        node: {
            key: ["over", value.value] if hasattr(value, "value") else value for key, value in update.items()
        }
        for node, update in chunk.items()
    }
    return repr(plainly)


def run(graph: Any) -> list[Any]:
    # Nodes of one superstep end in any order.
    chunks = sorted(told(it) for it in graph.stream({"log": ["in"]}, CONFIG, stream_mode="updates"))
    return [chunks, [plain(it) for it in graph.get_state_history(CONFIG)]]


def answered_by_id(graph: Any) -> list[Any]:
    seen: list[Any] = []
    result = graph.invoke({"log": ["in"]}, CONFIG)
    while "__interrupt__" in result:
        asked: list[Interrupt] = result["__interrupt__"]
        seen.append(sorted(repr(it.value) for it in asked))
        result = graph.invoke(Command(resume={it.id: f"to {it.value}" for it in asked}), CONFIG)
    return [seen, result, [plain(it) for it in graph.get_state_history(CONFIG)]]


CASES = [(fan, run), (asking, answered_by_id), (leaving, run)]


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/store.db"


@pytest.mark.parametrize(("build", "play"), CASES, ids=lambda it: it.__name__)
def test_both_see_the_same(build: Callable[[], Any], play: Play, url: str) -> None:
    theirs = play(build().compile(checkpointer=InMemorySaver()))
    assert play(from_langgraph(build(), checkpointer=url)) == theirs


def test_what_a_node_asks_of_langgraph_is_there() -> None:
    seen: dict[str, Any] = {}

    class Context(TypedDict):
        user: str

    def look(state: State, runtime: Runtime[Context]) -> State:
        get_stream_writer()("said")
        assert get_runtime(Context).context == runtime.context == {"user": "Ada"}
        seen["node"] = get_config()["metadata"]["langgraph_node"]
        assert runtime.execution_info is not None
        seen["attempt"] = runtime.execution_info.node_attempt
        assert runtime.store is not None
        runtime.store.put(("n",), "k", {"v": 1})
        return {"x": runtime.store.get(("n",), "k").value["v"]}  # type: ignore[union-attr]

    builder = StateGraph(State, Context).add_node(look).add_edge(START, "look")
    graph = from_langgraph(builder)
    told = list(graph.stream({}, context={"user": "Ada"}, stream_mode=["custom", "values"]))
    assert ("custom", "said") in told
    assert told[-1] == ("values", {"log": [], "x": 1})
    assert seen == {"node": "look", "attempt": 1}


def test_policies_are_carried() -> None:
    tries: list[int] = []

    def fragile(state: State) -> State:
        tries.append(1)
        raise ValueError("broken")

    def mend(state: State, error: Any = None) -> State:
        return {"log": ["mended"]}

    builder = StateGraph(State)
    builder.add_node(
        "fragile", fragile, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.01, retry_on=ValueError),
        error_handler=mend,
    )  # fmt: skip
    builder.add_edge(START, "fragile")
    assert from_langgraph(builder).invoke({})["log"] == ["mended"]
    assert len(tries) == 2

    calls: list[int] = []
    builder = StateGraph(State)
    builder.add_node("slow", lambda state: calls.append(1) or {"x": 1}, cache_policy=CachePolicy(ttl=60))
    builder.add_edge(START, "slow")
    graph = from_langgraph(builder, checkpointer="memory://")
    for thread in "12":
        graph.invoke({"log": []}, {"configurable": {"thread_id": thread}})
    assert calls == [1]


def agent() -> StateGraph[Any, Any, Any, Any]:
    @tool
    def double(n: int) -> int:
        """Twice the number."""
        return 2 * n

    call = {"name": "double", "args": {"n": 21}, "id": "c1", "type": "tool_call"}
    model = GenericFakeChatModel(
        messages=iter([AIMessage("", tool_calls=[call], id="m1"), AIMessage("42", id="m2")])
    )
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode([double]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder


def test_an_agent_with_tools_says_the_same(url: str) -> None:
    def said(graph: Any) -> list[Any]:
        result = graph.invoke({"messages": [HumanMessage("21?", id="h")]}, CONFIG)
        return [(type(it), it.content, getattr(it, "tool_calls", None)) for it in result["messages"]]

    theirs = said(agent().compile(checkpointer=InMemorySaver()))
    assert said(from_langgraph(agent(), checkpointer=url)) == theirs
    assert len(theirs) == 4


def test_a_graph_is_not_changed_and_keeps_name_and_stops() -> None:
    compiled = asking().compile(name="asking", interrupt_before=["z"])
    graph = from_langgraph(compiled)
    assert isinstance(graph, CompiledGraph)
    assert (graph.name, graph.definition.interrupt_before) == ("asking", ("z",))
    builder = asking().set_node_defaults(error_handler=says("handled"))
    before = list(builder.nodes)
    with pytest.raises(GraphValidationError, match="'inner' is a graph"):
        from_langgraph(builder)
    assert list(builder.nodes) == before


def test_what_cannot_be_carried_is_refused_with_its_name() -> None:
    inner = StateGraph(State).add_node("i", says("i")).add_edge(START, "i").compile()
    builder = StateGraph(State)
    builder.add_node("within", inner, retry_policy=RetryPolicy())
    builder.add_edge(START, "within")
    with pytest.raises(GraphValidationError, match="'within' is a graph: give retry_policy"):
        from_langgraph(builder)
    with pytest.raises(GraphValidationError, match="recursion_limit 7"):
        from_langgraph(asking().compile().with_config(recursion_limit=7))
    with pytest.raises(GraphValidationError, match="give LangGraph's StateGraph"):
        from_langgraph(len)
    with pytest.raises(GraphValidationError, match="list"):
        from_langgraph(StateGraph(list).add_node("n", lambda state: state).add_edge(START, "n"))


def test_workers_run_it_and_people_answer(tmp_path: Path) -> None:
    theirs = asking().compile(checkpointer=InMemorySaver())
    wanted = answered_by_id(theirs)[1]
    graph = from_langgraph(asking(), name="asking")
    with open_store(f"sqlite:///{tmp_path}/w.db") as store, LocalWorker([graph], store) as worker:
        client = worker.client
        handle = client.submit(graph, {"log": ["in"]}, thread_id="t")
        worker.run_until_idle()
        while questions := client.interrupts("t"):
            client.resume("t", answers={it.id: f"to {it.value}" for it in questions})
            worker.run_until_idle()
        assert handle.result(0) == wanted
        owner = next(task for task in client.tasks("t") if task.node == "inner")
        assert len({task.ns for task in client.tasks("t")}) == 3
        assert owner.child == f"inner:{owner.task_id}"
