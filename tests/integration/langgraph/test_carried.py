"""What a LangGraph graph may be made of, each thing by itself: both engines see the same."""

from __future__ import annotations

import asyncio
import operator
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.channels import AnyValue, EphemeralValue, Topic, UntrackedValue
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_store, get_stream_writer
from langgraph.errors import NodeError, NodeTimeoutError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore, ToolNode, create_react_agent
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, RetryPolicy, Send, StreamWriter, TimeoutPolicy, interrupt

from petiole.langgraph import from_langgraph
from petiole.testing import LocalWorker

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}
Compile = Callable[..., Any]
Case = Callable[[Compile], Any]


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    x: int


class Channels(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    topic: Annotated[list[str], Topic(str)]
    all: Annotated[list[str], Topic(str, True)]
    ephemeral: Annotated[str, EphemeralValue]
    untracked: Annotated[str, UntrackedValue]
    any: Annotated[str, AnyValue]


class Secret(TypedDict):
    secret: str


class Number(TypedDict):
    x: int


class Log(TypedDict):
    log: list[str]


class Model(GenericFakeChatModel):
    """Says what it is given; knows of no tools."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


def theirs(graph: Any, *, bound: RunnableConfig | None = None, **options: Any) -> Any:
    if isinstance(graph, StateGraph):
        graph = graph.compile(checkpointer=InMemorySaver(), **options)
    graph.checkpointer = InMemorySaver()
    return graph.with_config(bound) if bound else graph


def ours(graph: Any, *, bound: RunnableConfig | None = None, **options: Any) -> Any:
    if isinstance(graph, StateGraph):
        graph = graph.compile(**options)
    return from_langgraph(graph.with_config(bound) if bound else graph, checkpointer="memory://")


def says(name: str) -> Callable[[State], State]:
    return lambda state: {"log": [name]}


def chain(**nodes: Any) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for start, end in zip((START, *nodes), nodes, strict=False):
        builder.add_edge(start, end)
    return builder


def plain(state: Any) -> Any:
    metadata = state.metadata or {}
    return state.values, state.next, metadata.get("source"), metadata.get("step")


def history(graph: Any) -> list[Any]:
    return [plain(state) for state in graph.get_state_history(CONFIG)]


def texts(result: Any) -> list[Any]:
    return [(message.type, message.content) for message in result["messages"]]


def call(name: str, id: str, **args: Any) -> Any:
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


def channels(build: Compile) -> Any:
    def show(state: Channels) -> Channels:
        return {"log": [repr(sorted((key, value) for key, value in state.items() if key != "log"))]}

    builder = StateGraph(Channels)
    builder.add_node(
        "a", lambda _: {"topic": "t", "all": ["1", "2"], "ephemeral": "e", "untracked": "u", "any": "y"}
    )
    builder.add_node("b", show)
    builder.add_node("b2", lambda _: {"topic": ["t2"], "all": "3"})
    builder.add_node("c", show)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "b2")
    builder.add_edge(["b", "b2"], "c")
    graph = build(builder)
    return [graph.invoke({"log": [said]}, CONFIG) for said in ("in", "again")]


def private_schemas(build: Compile) -> Any:
    def a(state: Number) -> Secret:
        return {"secret": f"s{state['x']}"}

    def b(state: Secret) -> State:
        return {"log": [state["secret"], *sorted(state)]}

    builder = StateGraph(State, input_schema=Number, output_schema=Log)
    builder.add_node(a)
    builder.add_node(b)
    builder.add_node("c", lambda state: {"log": sorted(state)}, input_schema=Log)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    graph = build(builder)
    return [graph.invoke({"x": 3}, CONFIG), history(graph)]


def stops(build: Compile) -> Any:
    return stopped(
        build(chain(a=says("a"), b=says("b"), c=says("c")), interrupt_before=["b"], interrupt_after="*")
    )


def stopped(graph: Any) -> list[Any]:
    seen = [graph.invoke({"log": ["in"]}, CONFIG)]
    while graph.get_state(CONFIG).next:
        seen.append(plain(graph.get_state(CONFIG)))
        seen.append(graph.invoke(None, CONFIG))
    return seen


def with_subgraph(checkpointer: bool | None) -> Case:
    def case(build: Compile) -> Any:
        inner = chain(i=lambda state: {"log": [f"i{len(state['log'])}"], "x": state.get("x", 0) + 1})
        graph = build(chain(inner=inner.compile(checkpointer=checkpointer), z=says("z")))
        return [[graph.invoke({"log": [said]}, CONFIG) for said in ("in", "again")], history(graph)]

    case.__name__ = f"subgraph_{checkpointer}"
    return case


def unkept_subgraph_asks(build: Compile) -> Any:
    inner = chain(i=lambda state: {"log": [f"i {interrupt('within?')}"]})
    return asked(build(chain(inner=inner.compile(checkpointer=False))))


def subgraph_called_asks_twice(build: Compile) -> Any:
    inner = chain(
        i=lambda state: {"log": [f"i {interrupt('1?')}"]}, j=lambda state: {"log": [f"j {interrupt('2?')}"]}
    )
    graph = inner.compile()
    return asked(build(chain(call=lambda state: {"log": graph.invoke({"log": []})["log"]})))


def asked(graph: Any) -> list[Any]:
    seen: list[Any] = []
    result = graph.invoke({"log": []}, CONFIG)
    while "__interrupt__" in result:
        (question,) = result["__interrupt__"]
        seen.append(question.value)
        result = graph.invoke(Command(resume=f"to {question.value}"), CONFIG)
    return [*seen, result]


def failing_then_replayed(build: Compile) -> Any:
    calls: list[str] = []

    def fails(state: State) -> State:
        calls.append("f")
        if len(calls) <= 2 and calls.count("f") == 1:
            raise ValueError("broken")
        return {"log": ["f"]}

    def sibling(state: State) -> State:
        calls.append("s")
        return {"log": ["s"]}

    builder = chain(a=says("a"), f=fails, z=says("z"))
    builder.edges.remove(("f", "z"))
    builder.add_node("s", sibling).add_edge("a", "s").add_edge(["f", "s"], "z")
    graph = build(builder)
    with pytest.raises(ValueError, match="broken"):
        graph.invoke({"log": ["in"]}, CONFIG)
    state = graph.get_state(CONFIG)
    seen = [plain(state), [bool(task.error) for task in state.tasks]]
    seen += [graph.invoke(None, CONFIG), sorted(calls), history(graph)]
    old = next(state for state in graph.get_state_history(CONFIG) if "f" in state.next)
    return [*seen, graph.invoke(None, old.config), sorted(calls), history(graph)]


def bound_config(build: Compile) -> Any:
    seen: list[Any] = []

    def look(state: State, config: RunnableConfig) -> None:
        seen.append(sorted(config["tags"]))
        for part, keys in (("metadata", "mn"), ("configurable", "uv")):
            seen.append({key: it for key, it in config[part].items() if key in (*keys, "thread_id")})  # type: ignore[literal-required]
        seen.append(config["recursion_limit"])

    bound: RunnableConfig = {
        "tags": ["b"],
        "metadata": {"m": 1, "n": 1},
        "configurable": {"u": 1, "v": 1},
    }
    given: RunnableConfig = {
        "configurable": {"thread_id": "t", "v": 2},
        "tags": ["c"],
        "metadata": {"n": 2},
        "recursion_limit": 17,
    }
    build(chain(look=look), bound=bound).invoke({"log": []}, given)
    return seen


def timeouts(build: Compile) -> Any:
    """Caught by a handler, retried by a policy, and raised: each knows LangGraph's error."""
    seen: list[Any] = []

    async def slow(state: State) -> None:
        seen.append("try")
        await asyncio.sleep(30)

    def handle(state: State, error: NodeError) -> State:
        raised = error.error
        assert isinstance(raised, NodeTimeoutError)
        return {"log": [f"{raised.node} {raised.kind} {raised.run_timeout}"]}

    builder = StateGraph(State)
    for number, retry_on in enumerate(
        (NodeTimeoutError, lambda raised: isinstance(raised, NodeTimeoutError))
    ):
        builder.add_node(
            f"slow{number}", slow, timeout=timedelta(seconds=0.05), error_handler=handle,
            retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.01, retry_on=retry_on),
        )  # fmt: skip
        builder.add_edge(START, f"slow{number}")
    result = asyncio.run(build(builder).ainvoke({"log": []}, CONFIG))
    return [seen, sorted(result["log"])]


def timeouts_of_sends(build: Compile) -> Any:
    """A Send's own stands in place of the node's, from routers, from Commands and from nodes that return it."""
    seen: list[float] = []

    async def slow(seconds: float) -> State:
        seen.append(seconds)
        await asyncio.sleep(seconds)
        return {"log": [f"{seconds}"]}

    def handle(seconds: float, error: NodeError) -> State:
        raised = error.error
        assert isinstance(raised, NodeTimeoutError)
        return {"log": [f"{seconds} {raised.kind} {raised.run_timeout} {raised.idle_timeout}"]}

    idle = TimeoutPolicy(idle_timeout=timedelta(seconds=0.06), refresh_on="heartbeat")
    builder = StateGraph(State)
    again = RetryPolicy(max_attempts=2, initial_interval=0.01)
    builder.add_node("slow", slow, timeout=20, error_handler=handle, retry_policy=again)
    builder.add_node("one", lambda _: Command(goto=[Send("slow", 30.0, timeout=0.05), Send("slow", 0.01)]))
    builder.add_node("two", lambda _: Send("slow", 31.0, timeout=idle))
    builder.add_edge(START, "one").add_edge(START, "two")
    builder.add_conditional_edges(
        START, lambda _: [Send("slow", 0.2), Send("slow", 32.0, timeout=timedelta(seconds=0.04))], ["slow"]
    )
    result = asyncio.run(build(builder).ainvoke({"log": []}, CONFIG))
    return [sorted(seen), result["log"]]


def tools() -> list[Any]:
    @tool
    def look(q: str, state: Annotated[Any, InjectedState], store: Annotated[Any, InjectedStore()]) -> str:
        """Looks."""
        store.put(("n",), q, {"v": q})
        return f"{q} {len(state['messages'])} {store.get(('n',), q).value['v']}"

    @tool
    async def later(q: str) -> str:
        """Is async alone."""
        await asyncio.sleep(0)
        return f"later {q}"

    return [look, later]


def tools_by_send(build: Compile) -> Any:
    calls = [call("look", f"c{n}", q=f"q{n}") for n in range(3)]
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda _: {"messages": [AIMessage("", tool_calls=calls, id="m")]})
    builder.add_node("tools", ToolNode(tools()[:1]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model",
        lambda state: [
            Send("tools", {"__type": "tool_call_with_context", "tool_call": it, "state": state})
            for it in state["messages"][-1].tool_calls
        ],
    )
    graph = build(builder, store=InMemoryStore())
    return texts(graph.invoke({"messages": [HumanMessage("hi", id="h")]}, CONFIG))


def async_tools_and_nodes(build: Compile) -> Any:
    async def model(state: MessagesState) -> Any:
        return {
            "messages": [
                AIMessage("", tool_calls=[call("later", "c", q="z"), call("look", "d", q="y")], id="m")
            ]
        }

    async def route(state: MessagesState) -> str:
        return "tools"

    builder = StateGraph(MessagesState)
    builder.add_node("model", model)
    builder.add_node("tools", ToolNode(tools()))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", route, ["tools"])
    graph = build(builder, store=InMemoryStore())
    return texts(asyncio.run(graph.ainvoke({"messages": [HumanMessage("hi", id="h")]}, CONFIG)))


def agent(version: Any = "v2", **options: Any) -> Any:
    @tool
    def book(hotel: str) -> str:
        """Books, once somebody has agreed."""
        return f"booked {hotel}: {interrupt(f'{hotel}?')}"

    calls = [call("book", "c1", hotel="A"), call("book", "c2", hotel="B")]
    model = Model(messages=iter([AIMessage("", tool_calls=calls, id="m1"), AIMessage("done", id="m2")]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangGraph would have users take LangChain's
        return create_react_agent(model, [book], version=version, **options)


def agent_that_asks(version: str) -> Case:
    def case(build: Compile) -> Any:
        graph = build(agent(version))
        seen: list[Any] = []
        result = graph.invoke({"messages": [HumanMessage("hi", id="h")]}, CONFIG)
        while "__interrupt__" in result:
            questions = result["__interrupt__"]
            seen.append(sorted(it.value for it in questions))
            result = graph.invoke(Command(resume={it.id: f"yes to {it.value}" for it in questions}), CONFIG)
        return [*seen, texts(result)]

    case.__name__ = f"agent_{version}_asks"
    return case


def agent_with_hooks(build: Compile) -> Any:
    graph = build(
        agent(
            prompt="be nice",
            pre_model_hook=lambda state: {"llm_input_messages": state["messages"]},
            post_model_hook=lambda state: {},
            interrupt_before=["tools"],
            name="agent",
        )
    )
    result = graph.invoke({"messages": [HumanMessage("hi", id="h")]}, CONFIG)
    return [texts(result), graph.get_state(CONFIG).next]


def memory_and_writer(build: Compile) -> Any:
    def first(state: State, *, store: BaseStore, writer: StreamWriter) -> State:
        writer("injected")
        get_stream_writer()("found")
        get_store().put(("u",), "k", {"v": 1})
        item = store.get(("u",), "k")
        return {"x": item.value["v"] if item else 0}

    async def second(state: State, runtime: Runtime[Any]) -> State:
        runtime.stream_writer("runtime's")
        assert runtime.store is not None
        item = await runtime.store.aget(("u",), "k")
        return {"log": [str(item and item.value)]}

    graph = build(chain(first=first, second=second), store=InMemoryStore())

    async def chunks() -> list[Any]:
        modes = ["custom", "updates"]
        return [chunk async for chunk in graph.astream({"log": []}, CONFIG, stream_mode=modes)]

    return asyncio.run(chunks())


CASES: list[Case] = [
    channels, private_schemas, stops, with_subgraph(True), with_subgraph(False), with_subgraph(None), unkept_subgraph_asks,
    subgraph_called_asks_twice, failing_then_replayed, bound_config, timeouts, timeouts_of_sends, tools_by_send, async_tools_and_nodes,
    agent_that_asks("v1"), agent_that_asks("v2"), agent_with_hooks, memory_and_writer,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_see_the_same(case: Case) -> None:
    assert case(ours) == case(theirs)


def test_an_agent_on_workers_asks_and_goes_on() -> None:
    graph = from_langgraph(agent(), name="agent")
    with LocalWorker([graph]) as worker:
        client = worker.client
        handle = client.submit(graph, {"messages": [HumanMessage("hi", id="h")]}, thread_id="t")
        worker.run_until_idle()
        questions = client.interrupts("t")
        assert sorted(it.value for it in questions) == ["A?", "B?"]
        client.resume("t", answers={it.id: f"yes to {it.value}" for it in questions})
        worker.run_until_idle()
        assert texts(handle.result(0))[-3:] == [
            ("tool", "booked A: yes to A?"),
            ("tool", "booked B: yes to B?"),
            ("ai", "done"),
        ]
