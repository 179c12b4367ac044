"""What a graph may say, run by a worker on every store: whatever it writes has to survive being stored."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel

from petiole import (
    END,
    START,
    Command,
    CompiledGraph,
    EphemeralValue,
    IdempotencyError,
    InputError,
    Message,
    MessagesState,
    NodeError,
    NodeTimeoutError,
    Overwrite,
    RemainingSteps,
    RemoveMessage,
    RetryPolicy,
    RunFailedError,
    Send,
    SerializationError,
    StateGraph,
    TimeoutPolicy,
    Topic,
    UntrackedValue,
    entrypoint,
    interrupt,
    task,
)
from petiole.testing import LocalWorker
from petiole_stores.ids import new_id
from petiole_stores.store import Store


def run(store: Store, graph: CompiledGraph, input: Any, **options: Any) -> dict[str, Any]:
    """The result of one run by a worker on ``store``, which must not be in memory alone."""
    options.setdefault("thread_id", new_id())
    with LocalWorker([graph], store) as worker:
        handle = worker.client.submit(graph, input, **options)
        worker.run_until_idle()
        return handle.result(0)


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    once: Annotated[str, EphemeralValue]
    topic: Annotated[list[str], Topic(str)]
    run: Annotated[str, UntrackedValue]
    left: RemainingSteps
    seen: Annotated[list[Any], operator.add]


@pytest.mark.parametrize("wide", [False, True])
def test_an_overwrite_survives_the_store(store: Store, wide: bool) -> None:
    builder = StateGraph(State).add_edge(START, "a")
    builder.add_node("a", lambda state: Command(update={"log": Overwrite(["over"])}, goto="c"))
    builder.add_node("c", lambda state: {"log": ["c"]})
    if wide:  # the last joiner applies what it reads from the store
        builder.add_edge(START, "b").add_node("b", lambda state: {"log": ["dropped"]})
    graph = builder.compile(name=f"overwrites-{wide}")
    assert run(store, graph, {"log": Overwrite(["in"])})["log"] == ["over", "c"]


def test_channels_and_managed_values_count_across_tasks(store: Store) -> None:
    builder = StateGraph(State).add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")

    def look(name: str, **update: Any) -> Any:
        def node(state: Any) -> dict[str, Any]:
            keys = ("once", "topic", "run", "left")
            return update | {"seen": [name, *(state.get(key) for key in keys)]}

        return node

    builder.add_node("a", look("a", once="1", topic=["x", "y"], run="r")).add_node("b", look("b"))
    builder.add_node("c", look("c"))
    graph = builder.compile(name="channels")
    thread = new_id()
    given = run(store, graph, {}, thread_id=thread, recursion_limit=7)
    assert given["seen"] == ["a", None, None, None, 6, "b", "1", ["x", "y"], "r", 5, "c", None, None, "r", 4]
    assert run(store, graph, {}, thread_id=thread)["seen"][15:18] == ["a", None, None]


def test_a_send_may_lead_to_a_node_that_overwrites(store: Store) -> None:
    builder = StateGraph(State)
    builder.add_node("a", lambda arg: {"log": Overwrite([arg])} if arg == "2" else {"log": [arg]})
    builder.add_conditional_edges(START, lambda state: [Send("a", str(n)) for n in range(5)], ["a"])
    assert run(store, builder.compile(name="sends"), {})["log"] == ["2"]


def test_a_sends_timeout_is_of_that_task_alone(store: Store) -> None:
    """From a router and from a Command; retries keep it, and the error says which limit it was."""
    tries: list[float] = []

    async def slow(seconds: float) -> dict[str, Any]:
        tries.append(seconds)
        await asyncio.sleep(seconds)
        return {"log": [f"{seconds}"]}

    def handle(seconds: float, error: NodeError) -> dict[str, Any]:
        assert isinstance(error.error, NodeTimeoutError)
        told = error.error
        return {"log": [f"{seconds} {told.kind} {told.run_timeout} {told.idle_timeout}"]}

    sends = [
        Send("slow", 30.0, timeout=0.05),
        Send("slow", 0.2),
        Send(
            "slow", 31.0, timeout=TimeoutPolicy(idle_timeout=timedelta(seconds=0.06), refresh_on="heartbeat")
        ),
        Send("slow", 0.1, timeout=20),
    ]
    builder = StateGraph(State)
    again = RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False)
    builder.add_node("slow", slow, timeout=25, retry_policy=again, error_handler=handle)
    builder.add_node("one", lambda state: Command(goto=Send("slow", 32.0, timeout=0.04)))
    builder.add_conditional_edges(START, lambda state: sends, ["slow"])
    builder.add_conditional_edges("slow", lambda state: [] if "one" in state["log"] else ["first"])
    builder.add_node("first", lambda state: {"log": ["one"]}).add_edge("first", "one")
    graph = builder.compile(name="sent-limits")
    found = run(store, graph, {"log": []}, thread_id=(thread := new_id()))["log"]
    assert found == ["30.0 run 0.05 None", "0.2", "31.0 idle None 0.06", "0.1", "one", "32.0 run 0.04 None"]
    assert sorted(tries) == [0.1, 0.2, 30.0, 30.0, 31.0, 31.0, 32.0, 32.0]
    with LocalWorker([graph], store) as worker:
        [sent] = [it for it in worker.client.state_history(thread, graph=graph) if it.next == ("slow",) * 4]
        tries.clear()
        forked = worker.client.fork(thread, sent.config["configurable"]["checkpoint_id"], graph=graph)
        worker.run_until_idle()
        assert forked.result(0)["log"] == found
        assert tries.count(30.0) == tries.count(31.0) == tries.count(32.0) == 2


def test_commands_for_the_parent_and_by_hand_send_with_timeouts(store: Store) -> None:
    async def slow(seconds: float) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return {"log": [f"{seconds}"]}

    def handle(seconds: float, error: NodeError) -> dict[str, Any]:
        return {"log": [f"{seconds}: {error.error}"]}

    def leave(state: State) -> Command[Any]:
        return Command(graph=Command.PARENT, goto=[Send("slow", 30.0, timeout=0.05), Send("slow", 0.1)])

    inner = StateGraph(State).add_node("leave", leave).add_edge(START, "leave").compile()
    builder = StateGraph(State).add_node("slow", slow, error_handler=handle).add_node("inner", inner)
    graph = builder.add_edge(START, "inner").compile(store, name="sent-from-below")
    config: Any = {"configurable": {"thread_id": new_id()}}
    ended = "30.0: node 'slow' ran longer than its timeout of 0.05 s"
    assert graph.invoke({"log": []}, config)["log"] == [ended, "0.1"]
    sent = Command(update={"log": ["by hand"]}, goto=[Send("slow", 31.0, timeout=0.04)])
    assert graph.invoke(sent, config)["log"][2:] == [
        "by hand",
        "31.0: node 'slow' ran longer than its timeout of 0.04 s",
    ]


def test_a_sends_timeout_outlives_replays(store: Store) -> None:
    async def slow(seconds: float) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return {"log": [f"{seconds}"]}

    builder = StateGraph(State).add_node("slow", slow)
    sends = [Send("slow", 30.0, timeout=0.05), Send("slow", 0.1)]
    builder.add_conditional_edges(START, lambda state: sends, ["slow"])
    graph = builder.compile(name="sent-limits-replayed")
    with LocalWorker([graph], store) as worker:
        run = worker.client.submit(graph, {"log": []}, thread_id=new_id())
        for count in range(2):
            worker.run_until_idle()
            with pytest.raises(RunFailedError, match=r"ran longer than its timeout of 0\.05 s"):
                run.result(0)
            tasks = [it for it in store.list_tasks(run.run_id) if it.kind == "node"]
            assert [it.status for it in tasks] == ["failed", "done", *["failed"] * count]
            worker.client.replay(run.thread_id)


# ---------------------------------------------------------------- context and config


@dataclass
class Region:
    name: str


@dataclass
class Context:
    user: str
    region: Region | None = None
    notes: str = ""


class Profile(BaseModel):
    user: str
    limit: int = 3


class Report(TypedDict, total=False):
    seen: Annotated[list[Any], operator.add]


def reporting(schema: Any, name: str) -> CompiledGraph:
    """Two nodes and a router that say what they were given."""
    builder = StateGraph(Report, schema).add_edge(START, "a")

    def a(state: Any, runtime: Any) -> dict[str, Any]:
        return {"seen": [runtime.context]}

    def b(state: Any, config: Any, runtime: Any) -> dict[str, Any]:
        keys = ("user_id", "thread_id")
        found = [config["configurable"].get(key) for key in keys]
        return {"seen": [*found, config["tags"], config["metadata"].get("team"), config["recursion_limit"]]}

    def route(state: Any, runtime: Any) -> str:
        return "b" if runtime.context.user == "ada" else END

    builder.add_node(a).add_node(b).add_conditional_edges("a", route)
    return builder.compile(name=name)


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize(
    "context", [Context("ada", Region("eu"), notes="n" * 9000), Profile(user="ada"), {"user": "ada"}]
)
def test_context_and_config_reach_a_worker(store: Store, context: Any, by_name: bool) -> None:
    schema = type(context) if not isinstance(context, dict) else Profile
    graph = reporting(schema, f"reports-{schema.__name__}-{by_name}")
    thread = new_id()
    with LocalWorker([graph], store) as worker:
        handle = worker.client.submit(
            graph.name if by_name else graph,
            {},
            thread_id=thread,
            context=context,
            configurable={"user_id": 7, "thread_id": "not this one"},
            tags=["t"],
            metadata={"team": "red"},
            recursion_limit=44,
        )
        worker.run_until_idle()
        seen = handle.result(0)["seen"]
        store.trim(thread, None)  # what the run was given outlives a collection of blobs
        again = worker.client.replay(thread, from_node="a")
        worker.run_until_idle()
    expected = context if not isinstance(context, dict) else Profile(user="ada")
    assert seen == [expected, 7, thread, ["t"], "red", 44]
    assert again.result(0)["seen"][0] == expected


def test_a_context_that_does_not_fit_fails_its_run_and_says_why(store: Store) -> None:
    graph = reporting(Context, "misfits")
    with LocalWorker([graph], store) as worker:
        with pytest.raises(
            InputError, match="context of graph 'misfits' does not fit its context_schema Context"
        ):
            worker.client.submit(graph, {}, context={"nobody": 1})
        handle = worker.client.submit("misfits", {}, context={"nobody": 1})
        worker.run_until_idle()
        with pytest.raises(RunFailedError, match="does not fit its context_schema Context"):
            handle.result(0)


def test_a_key_is_of_one_context(store: Store) -> None:
    graph = reporting(Profile, "keyed")
    with LocalWorker([graph], store) as worker:
        options: dict[str, Any] = {"idempotency_key": new_id()}
        first = worker.client.submit(graph, {}, context={"user": "ada"}, **options)
        assert worker.client.submit(graph, {}, context={"user": "ada"}, **options).run_id == first.run_id
        with pytest.raises(IdempotencyError):
            worker.client.submit(graph, {}, context={"user": "bob"}, **options)
        worker.run_until_idle()


def test_a_context_that_cannot_be_stored_is_refused_when_submitted(store: Store) -> None:
    with (
        LocalWorker([reporting(None, "unstorable")], store) as worker,
        pytest.raises(SerializationError, match="the run's context cannot be stored"),
    ):
        worker.client.submit("unstorable", {}, context=object())


def test_execution_info_tells_of_the_first_attempt(store: Store) -> None:
    def node(state: Any, runtime: Any) -> dict[str, Any]:
        info = runtime.execution_info
        if info.node_attempt == 1:
            raise ConnectionError("once more")
        seen = (info.task_id, info.checkpoint_id, info.node_attempt, info.node_first_attempt_time)
        return {"seen": [[*seen, runtime.task_id]]}

    policy = RetryPolicy(initial_interval=5, jitter=False)
    builder = StateGraph(Report).add_node("a", node, retry_policy=policy).add_edge(START, "a")
    with LocalWorker([builder.compile(name="informed")], store) as worker:
        handle = worker.client.submit("informed", {})
        worker.run_until_idle()
        worker.clock.tick(6)
        worker.run_until_idle()
        [[task, checkpoint, attempt, first, same]] = handle.result(0)["seen"]
        [done] = [it for it in worker.store.list_tasks(handle.run_id) if it.kind == "node"]
    assert (task, checkpoint, attempt) == (same, done.checkpoint_id, 2)
    assert first == done.attempts[0].claimed_at < (done.claimed_at or 0)


# ---------------------------------------------------------------- messages


@pytest.mark.parametrize("wide", [False, True])
def test_a_conversation_survives_the_store_with_its_ids(store: Store, wide: bool) -> None:
    """Each node meets what the others wrote as it came back from the store."""
    builder = (
        StateGraph(MessagesState).add_edge(START, "say").add_edge("say", "reply").add_edge("reply", "trim")
    )
    if wide:
        builder.add_node("aside", lambda state: {"messages": [("system", "aside")]}).add_edge(START, "aside")

    def reply(state: MessagesState) -> Any:
        said = next(message for message in state["messages"] if message.content == "hello")
        return {"messages": [{"role": "user", "content": said.content.upper(), "id": said.id}, "more"]}

    builder.add_node("say", lambda state: {"messages": [("user", "hello")]}).add_node(reply)
    builder.add_node("trim", lambda state: {"messages": [RemoveMessage(id=state["messages"][0].id)]})
    messages = run(store, builder.compile(name=f"talk-{wide}"), {"messages": ["first"]})["messages"]
    aside = ["aside"] if wide else []
    assert [message["content"] for message in messages] == [*aside, "HELLO", "more"]
    assert all(type(message) is Message and message.id for message in messages)


def test_langchains_messages_survive_the_store(store: Store) -> None:
    langchain = pytest.importorskip("langchain_core.messages", reason="langchain-core is not installed")
    call = {"name": "look", "args": {"at": "x"}, "id": "c1"}
    builder = StateGraph(MessagesState).add_edge(START, "ask").add_edge("ask", "tool")
    builder.add_node("ask", lambda state: {"messages": [langchain.AIMessage("", tool_calls=[call])]})

    def tool(state: MessagesState) -> Any:
        asked = state["messages"][-1].tool_calls[0]["id"]
        return {"messages": [langchain.ToolMessage("seen", tool_call_id=asked, artifact=(1, b"2"))]}

    builder.add_node(tool)
    messages = run(store, builder.compile(name="agent"), {"messages": [langchain.HumanMessage("hi")]})[
        "messages"
    ]
    assert [type(message).__name__ for message in messages] == ["HumanMessage", "AIMessage", "ToolMessage"]
    assert messages[1].tool_calls == [{**call, "type": "tool_call"}]
    assert messages[2].artifact == (1, b"2")


# ---------------------------------------------------------------- listeners


def test_listeners_hear_of_a_fan_out_on_a_worker(store: Store) -> None:
    events: list[tuple[str, Any]] = []

    class Ear:
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda event: events.append((name, event))

    builder = StateGraph(State).add_node("a", lambda arg: {"log": [arg]})
    builder.add_conditional_edges(START, lambda state: [Send("a", str(n)) for n in range(3)], ["a"])
    graph = builder.compile(name="heard", listeners=[Ear()])
    with LocalWorker([graph], store) as worker:
        handle = worker.client.submit(graph, {})
        worker.run_until_idle()
    heard = [name for name, _ in events]
    assert heard.count("on_node_start") == heard.count("on_node_end") == 3
    assert [event.run_status for name, event in events if name == "on_checkpoint"] == ["running"] * 2 + [
        "succeeded"
    ]
    assert {event.run_id for _, event in events} == {handle.run_id}
    assert sorted(dict(event.writes)["log"][0] for name, event in events if name == "on_node_end") == [
        "0",
        "1",
        "2",
    ]


class Visits(TypedDict, total=False):
    visits: int


class Rounds(TypedDict, total=False):
    heard: Annotated[list[str], operator.add]
    rounds: Annotated[int, operator.add]


def test_a_graph_with_a_memory_that_was_left_goes_on_from_there(store: Store) -> None:
    def choose(state: Visits) -> Any:
        visits = state["visits"]
        if visits % 2:
            return Command(graph=Command.PARENT, update={"heard": [f"left at {visits}"]}, goto="other")
        return {}

    inner = StateGraph(Visits).add_node("count", lambda state: {"visits": state.get("visits", 0) + 1})
    inner.add_node("choose", choose).add_edge(START, "count").add_edge("count", "choose")
    builder = StateGraph(Rounds).add_node("inner", inner.compile(checkpointer=True))
    builder.add_node("other", lambda state: {"rounds": 1})
    builder.add_edge(START, "inner").add_edge("inner", "other")
    builder.add_conditional_edges("other", lambda state: "inner" if state["rounds"] % 3 else END)
    graph, thread_id = builder.compile(name="visiting"), new_id()
    assert run(store, graph, {"heard": []}, thread_id=thread_id)["heard"] == ["left at 1", "left at 3"]
    heard = run(store, graph, {"heard": []}, thread_id=thread_id)["heard"]
    assert heard == ["left at 1", "left at 3", "left at 5"]


class Odd(TypedDict, total=False):
    n: int
    name: str


def test_writes_at_odds_beside_a_question_fail_the_run_once_it_is_answered(store: Store) -> None:
    builder = StateGraph(Odd).add_node("one", lambda state: {"n": 1}).add_node("two", lambda state: {"n": 2})
    builder.add_node("ask", lambda state: {"name": interrupt("who?")})
    for name in ("one", "two", "ask"):
        builder.add_edge(START, name)
    with LocalWorker([builder.compile(name="at_odds")], store) as worker:
        handle = worker.client.submit("at_odds", {}, thread_id=new_id())
        worker.run_until_idle()
        assert handle.status() == "interrupted"
        worker.client.resume(handle.thread_id, "Ann")
        worker.run_until_idle()
        with pytest.raises(RunFailedError, match="the key 'n' was written 2 times"):
            handle.result(0)


def test_a_workflow_of_functions_goes_on_behind_its_steps(store: Store) -> None:
    calls: list[str] = []

    @task
    def price(item: str) -> int:
        calls.append(item)
        return len(item)

    @entrypoint(name="order")
    def order(items: list[str]) -> str:
        total = sum(step.result() for step in [price(item) for item in items])
        return f"{interrupt({'total': total})}: {total}"

    with LocalWorker([order], store) as worker:
        handle = worker.client.submit(order, ["tea", "milk"], thread_id=new_id())
        worker.run_until_idle()
        assert handle.status() == "interrupted"
        worker.client.resume(handle.thread_id, "paid")
        worker.run_until_idle()
        assert handle.result(0)["result"] == "paid: 7"
    assert sorted(calls) == ["milk", "tea"]
