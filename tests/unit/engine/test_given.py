"""What a run is given along: how it is stored by a process that does not know the graph's classes, and read again."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from pydantic import BaseModel

from petiole_stores.errors import InputError, SerializationError
from petiole_stores.serde import Serde
from petiole_workers.given import Given, checked_tags, coerced
from petiole_workers.graph import START, StateGraph
from petiole_workers.hop import RunConfig


@dataclass
class Context:
    user: str
    rate: float = 1.0


class Model(BaseModel):
    user: str
    rate: float = 1.0


@pytest.mark.parametrize(
    ("context", "stored"),
    [
        (Context("ada"), {"user": "ada", "rate": 1.0}),
        (Model(user="ada"), {"user": "ada"}),
        ({"user": ("ada", b"x")}, {"user": ("ada", b"x")}),
        ("ada", "ada"),
    ],
)
def test_an_object_of_an_unknown_class_is_stored_as_its_fields(context: Any, stored: Any) -> None:
    config, serde = RunConfig(), Serde()
    Given(context, {"k": 1}).dump(config, serde, "t")
    again = msgspec.json.decode(msgspec.json.encode(config), type=RunConfig)
    assert serde.load(bytes(again.context).decode()) == stored
    assert serde.load(bytes(again.configurable).decode()) == {"k": 1}
    if type(context) in (Context, Model):
        assert coerced(type(context), stored, "g") == context


def test_a_known_class_is_stored_as_itself() -> None:
    config, serde = RunConfig(), Serde([Context])
    Given(Context("ada")).dump(config, serde, "t")
    assert serde.load(bytes(config.context).decode()) == Context("ada")


def test_a_big_context_is_a_blob_of_the_run() -> None:
    config, serde = RunConfig(), Serde()
    blobs = Given({"text": "x" * 50_000}).dump(config, serde, "t")
    assert serde.load(bytes(config.context).decode(), blobs) == {"text": "x" * 50_000}
    assert len(blobs) == 1


def test_what_cannot_be_stored_is_refused_or_left_out() -> None:
    given = Given(object(), {"k": object()})
    config = RunConfig()
    with pytest.raises(SerializationError, match="the run's context cannot be stored"):
        given.dump(config, Serde(), "t")
    assert given.dump(config, Serde(), "t", strict=False) == {}
    assert config == RunConfig()


def test_nothing_given_is_nothing_stored() -> None:
    config = RunConfig()
    assert Given.of({"thread_id": "t", "checkpoint_id": "c", "__pregel": 1}).dump(config, Serde(), "t") == {}
    assert msgspec.json.encode(config) == b"{}"


def test_an_invocation_goes_before_what_is_kept() -> None:
    kept = Given("old", {"a": 1, "b": 1})
    assert Given(None, {"b": 2}).over(kept) == Given("old", {"a": 1, "b": 2})
    assert Given("new", {}, ["callback"]).over(kept) == Given("new", {"a": 1, "b": 1}, ["callback"])


@pytest.mark.parametrize(
    ("schema", "context", "message"),
    [
        (Context, {"nobody": 1}, "does not fit its context_schema Context"),
        (Model, {"user": "a", "rate": "much"}, "does not fit its context_schema Model"),
        (Context, Model(user="a"), "give a dict, or an instance of Context"),
        (TypedDict("Loose", {"user": str}), 3, "give a dict"),
    ],
)
def test_a_context_that_does_not_fit_is_refused(schema: Any, context: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        coerced(schema, context, "g")


def test_tags_are_each_taken_once() -> None:
    assert checked_tags(["b", "a", "b"]) == ("b", "a")


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]


def test_a_thread_that_goes_on_has_the_context_and_values_of_its_run() -> None:
    """LangGraph has neither, unless they are given again."""
    down = [True]

    def node(state: State, runtime: Any, config: Any) -> State:
        if down:
            raise RuntimeError("down")
        return {"log": [runtime.context, config["configurable"]["k"], config["tags"]]}

    graph = StateGraph(State).add_node(node).add_edge(START, "node").compile("memory://")
    config = {"configurable": {"thread_id": "1"}}
    first = {"configurable": {"thread_id": "1", "k": 7}, "tags": ["t"]}
    with pytest.raises(RuntimeError, match="down"):
        graph.invoke({}, first, context={"user": "ada"})
    down.clear()
    assert graph.invoke(None, config)["log"] == [{"user": "ada"}, 7, ["t"]]
