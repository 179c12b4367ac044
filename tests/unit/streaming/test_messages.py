"""``stream_mode="messages"``: chat models of LangChain are heard as LangGraph hears them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest

import petiole

langgraph_graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
fakes = pytest.importorskip(
    "langchain_core.language_models.fake_chat_models", reason="langchain is not installed"
)
lc = pytest.importorskip("langchain_core.messages", reason="langchain is not installed")

pytestmark = pytest.mark.filterwarnings("default")

THEIRS = SimpleNamespace(StateGraph=langgraph_graph.StateGraph, START=langgraph_graph.START)
OURS = SimpleNamespace(StateGraph=petiole.StateGraph, START=petiole.START)


class State(TypedDict, total=False):
    messages: list[lc.AIMessage | lc.HumanMessage]  # type: ignore[name-defined]


def model(text: str, *, tags: list[str] | None = None) -> Any:
    made = fakes.GenericFakeChatModel(messages=iter([lc.AIMessage(content=text, id="fixed")] * 3))
    return made.with_config(tags=tags) if tags else made


def build(library: Any, node: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("talk", node)
    builder.add_edge(library.START, "talk")
    return builder.compile()


def heard(chunks: list[Any]) -> list[Any]:
    keys = ("langgraph_node", "langgraph_step", "langgraph_path", "ls_model_type")
    return [
        (type(message).__name__, message.content, {key: about.get(key) for key in keys})
        for message, about in chunks
    ]


def both(node: Any, given: Any = None) -> tuple[list[Any], list[Any]]:
    ours, theirs = (
        heard(list(build(library, node).stream({"messages": given or []}, stream_mode="messages")))
        for library in (OURS, THEIRS)
    )
    plain = [(kind, text, about | {"langgraph_path": None}) for kind, text, about in theirs]
    return [(kind, text, about | {"langgraph_path": None}) for kind, text, about in ours], plain


def test_tokens_of_a_model_that_is_invoked() -> None:
    def node(state: State) -> State:
        return {"messages": [model("one two three").invoke("say")]}

    ours, theirs = both(node)
    assert ours == theirs
    assert "".join(text for _, text, _ in ours) == "one two three"
    assert len(ours) > 3


def test_messages_that_a_node_returns_are_heard_once() -> None:
    old, new = lc.HumanMessage(content="old", id="1"), lc.AIMessage(content="new", id="2")

    def node(state: State) -> State:
        return {"messages": [*state["messages"], new]}

    ours, theirs = both(node, [old])
    assert ours == theirs
    assert [text for _, text, _ in ours] == ["new"]


def test_a_command_with_messages_is_heard() -> None:
    from petiole import Command

    def node(state: State) -> Any:
        return Command(update={"messages": [lc.AIMessage(content="by command", id="7")]})

    chunks = list(build(OURS, node).stream({"messages": []}, stream_mode="messages"))
    assert [message.content for message, _ in chunks] == ["by command"]


def test_a_model_with_the_tag_nostream_is_not_heard() -> None:
    def node(state: State) -> State:
        model("in private", tags=["nostream"]).invoke("say")
        return {}

    ours, theirs = both(node)
    assert ours == theirs == []


def test_models_in_async_nodes_are_heard_while_they_talk() -> None:
    async def main() -> None:
        said = asyncio.Event()

        async def node(state: State) -> State:
            answer = await model("a b").ainvoke("say")
            await asyncio.wait_for(said.wait(), 20)
            return {"messages": [answer]}

        chunks = build(OURS, node).astream({"messages": []}, stream_mode=["messages", "updates"])
        mode, (message, about) = await anext(chunks)
        assert (mode, message.content, about["langgraph_node"]) == ("messages", "a", "talk")
        said.set()
        assert [chunk[0] async for chunk in chunks][-1] == "updates"

    asyncio.run(main())


def test_nobody_is_listened_to_unless_somebody_asks() -> None:
    calls: list[bool] = []

    class Watched(fakes.GenericFakeChatModel):  # type: ignore[name-defined, misc]
        def _stream(self, *args: Any, **kwargs: Any) -> Any:
            calls.append(True)
            return super()._stream(*args, **kwargs)

    def node(state: State) -> State:
        return {"messages": [Watched(messages=iter([lc.AIMessage(content="x")])).invoke("say")]}

    list(build(OURS, node).stream({"messages": []}, stream_mode="updates"))
    assert calls == []
    list(build(OURS, node).stream({"messages": []}, stream_mode="messages"))
    assert calls == [True]
