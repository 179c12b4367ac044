"""`add_messages` beside LangGraph's, on LangChain's messages and on plain ones."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from petiole_stores.errors import UnfitError
from petiole_stores.message import Message
from petiole_stores.serde import Serde
from petiole_workers import graph as petiole
from petiole_workers.graph import (
    END,
    REMOVE_ALL_MESSAGES,
    START,
    MessagesState,
    RemoveMessage,
    StateGraph,
    add_messages,
)

langgraph_message = pytest.importorskip("langgraph.graph.message", reason="langgraph is not installed")
langchain = pytest.importorskip("langchain_core.messages", reason="langchain-core is not installed")

pytestmark = pytest.mark.filterwarnings("default")

ROLES = ("user", "assistant", "system", "tool", "human", "ai")
IDS = ("1", "2", "3", None)


def one() -> st.SearchStrategy[dict[str, Any]]:
    said = st.fixed_dictionaries(
        {
            "role": st.sampled_from(("user", "assistant", "system", "human", "ai")),
            "content": st.text(max_size=2),
        },
        optional={"id": st.sampled_from(IDS)},
    )
    gone = st.sampled_from(["1", "2", "3", REMOVE_ALL_MESSAGES]).map(
        lambda id: {"role": "remove", "content": "", "id": id}
    )
    return st.one_of(said, said, gone)


def outcome(reducer: Any, *batches: Any) -> Any:
    """What is left after the batches, as triples; ids that were made up are not compared."""
    value: Any = []
    try:
        for batch in batches:
            value = reducer(value, batch)
    except ValueError:
        return "refused"
    return [(message.type, message.content, message.id if message.id in IDS else "new") for message in value]


@given(st.lists(st.lists(one(), max_size=4), max_size=4))
def test_plain_messages_are_joined_as_langgraph_joins_its_own(batches: list[list[dict[str, Any]]]) -> None:
    before = copy.deepcopy(batches)
    ours = outcome(add_messages, *batches)
    assert batches == before
    assert ours == outcome(langgraph_message.add_messages, *copy.deepcopy(batches))


@given(st.lists(st.lists(one(), max_size=4), max_size=4))
def test_langchains_messages_are_joined_and_stay_what_they_are(batches: list[list[dict[str, Any]]]) -> None:
    whole = [[langchain.convert_to_messages([item])[0] for item in batch] for batch in batches]
    ours = outcome(add_messages, *copy.deepcopy(whole))
    assert ours == outcome(langgraph_message.add_messages, *whole)


@pytest.mark.parametrize(
    "single", ["hi", ("user", "hi"), {"type": "human", "content": "hi"}, Message("user", "hi")]
)
def test_a_bare_text_a_pair_and_a_dict_are_messages(single: Any) -> None:
    [message] = add_messages([], single)
    assert (type(message), message.role, message["content"], message.type) == (Message, "user", "hi", "human")
    assert message.id


def test_among_langchains_messages_all_become_langchains() -> None:
    mixed = add_messages([("user", "hi")], langchain.AIMessage("ho", id="2"))
    assert [type(message).__name__ for message in mixed] == ["HumanMessage", "AIMessage"]
    assert mixed[0].id
    chunk = add_messages([], langchain.AIMessageChunk("part", id="3"))
    assert type(chunk[0]) is langchain.AIMessage


@pytest.mark.parametrize("wrong", [3, {"content": "no role"}, ("jester", "ha"), None, {"role": "user"}])
def test_what_is_no_message_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"message|role"):
        add_messages([], [wrong])


def test_a_format_is_openais_through_langchain() -> None:
    reducer = add_messages(format="langchain-openai")
    given = [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {}}]}]
    [ours] = reducer([], given)
    [theirs] = langgraph_message.add_messages(format="langchain-openai")([], copy.deepcopy(given))
    assert (type(ours), ours.content) == (type(theirs), theirs.content)
    with pytest.raises(ValueError, match="format is 'xml'"):
        add_messages(format="xml")([], [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alone"):
        add_messages([])


class Talk(TypedDict):
    messages: Annotated[list[Any], add_messages]


class TheirTalk(TypedDict):
    messages: Annotated[list[Any], langgraph_message.add_messages]


@pytest.mark.parametrize("schema", [Talk, TheirTalk])
def test_a_message_has_one_id_for_router_send_and_state(schema: Any) -> None:
    """Where ids are given while joining, the router's copy has another one than the state."""

    def route(state: Any) -> Any:
        return petiole.Send("shout", state["messages"][-1])

    def shout(message: Any) -> Any:
        return {"messages": [{"role": "user", "content": message.content.upper(), "id": message.id}]}

    graph = StateGraph(schema).add_node("say", lambda state: {"messages": ("user", "hi")}).add_node(shout)
    graph.add_edge(START, "say").add_conditional_edges("say", route, ["shout"])
    assert [message.content for message in graph.compile().invoke({"messages": []})["messages"]] == ["HI"]


def test_a_conversation_is_edited_and_emptied_by_nodes() -> None:
    class State(MessagesState, total=False):
        n: int

    def trim(state: State) -> Any:
        return {"messages": [RemoveMessage(id=message.id) for message in state["messages"][:-1]]}

    def forget(state: State) -> Any:
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), ("assistant", "anew")]}

    graph = StateGraph(State).add_sequence([trim, forget]).add_edge(START, "trim")
    compiled = graph.compile("memory://")
    config = {"configurable": {"thread_id": "1"}}
    assert [m.content for m in compiled.invoke({"messages": ["a", "b"]}, config)["messages"]] == ["anew"]
    middle = [state.values["messages"] for state in compiled.get_state_history(config)][1]
    assert [message.content for message in middle] == ["b"]


def test_a_message_is_a_dict_with_attributes_that_copies_pickles_and_validates() -> None:
    message = Message("ai", "hi", id="1", tool_calls=[{"name": "f", "args": {}, "id": "c"}])
    assert (message.role, message.type, message.tool_calls[0]["name"]) == ("assistant", "ai", "f")
    for made in (copy.deepcopy(message), copy.copy(message), pickle.loads(pickle.dumps(message))):  # noqa: S301
        assert made == message
        assert type(made) is Message
    assert message == {"role": "assistant", "content": "hi", "id": "1", "tool_calls": message.tool_calls}
    with pytest.raises(AttributeError, match="no 'artifact'"):
        message.artifact  # noqa: B018

    class Model(BaseModel):
        messages: Annotated[list[Message], add_messages] = []

    assert type(Model(messages=[{"role": "user", "content": "x"}]).messages[0]) is Message  # type: ignore[list-item]
    with pytest.raises(ValidationError, match="dict with role and content"):
        Model(messages=[3])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "message",
    [
        Message("user", "hi\x00", id="1", **{"$odd": ()}),
        langchain.HumanMessage("hi", id="1", name="ada", additional_kwargs={"k": [1]}),
        langchain.AIMessage(
            [{"type": "text", "text": "x"}],
            tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c"}],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        ),
        langchain.AIMessageChunk("part", response_metadata={"m": 1}),
        langchain.ToolMessage("done", tool_call_id="c", artifact={"big": b"x"}, status="error"),
        langchain.SystemMessage("be good"),
        langchain.RemoveMessage(id="1"),
    ],
)
def test_every_message_round_trips_through_a_serde_that_was_told_of_none(message: Any) -> None:
    for inline in (4096, 0):
        serde = Serde(blob_threshold=inline)
        text, blobs = serde.dump([message])
        [back] = Serde().load(text, blobs)
        assert back == message
        assert type(back) is type(message)


def test_only_langchains_messages_are_imported_for_stored_data() -> None:
    serde = Serde()
    for name in ("os:path", "langchain_core.runnables.base:RunnableLambda", "langchain_core.messages_evil:X"):
        with pytest.raises(UnfitError, match="no class of that name is registered"):
            serde.load(f'{{"$object": ["{name}", {{}}]}}')
    with pytest.raises(UnfitError, match="install the version of langchain_core"):
        serde.load('{"$object": ["langchain_core.messages.ai:NoSuchMessage", {}]}')


def test_nothing_imports_langchain_before_somebody_uses_it() -> None:
    program = (
        "import sys; from petiole import *; from petiole import StateGraph, MessagesState, START;"
        "g = StateGraph(MessagesState).add_node('a', lambda s: {'messages': 'x'}).add_edge(START, 'a');"
        "g.compile().invoke({'messages': ['hi']}); print(any(m.startswith('lang') for m in sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": ":".join(filter(None, sys.path))})  # fmt: skip
    assert said.stdout.strip() == "False"


def test_langgraphs_own_state_with_a_router_ends() -> None:
    graph = StateGraph(langgraph_message.MessagesState).add_edge(START, "a")
    graph.add_node("a", lambda state: {"messages": [langchain.AIMessage("ho")]})
    graph.add_conditional_edges("a", lambda state: END if state["messages"][-1].type == "ai" else "a")
    assert [m.type for m in graph.compile().invoke({"messages": ["hi"]})["messages"]] == ["human", "ai"]
