"""Values in their two stored forms: readable where every process can read them, through LangGraph's serde where not."""

from __future__ import annotations

import dataclasses
import enum
import threading
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic
import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Send

from petiole.langgraph.values import Values
from petiole_stores.errors import SerializationError
from petiole_stores.serde import Serde

MARK = "__langgraph__"


class Colour(enum.Enum):
    red = 1


@dataclasses.dataclass
class Point:
    x: int
    tags: list[str]


class Model(pydantic.BaseModel):
    name: str


class Name(str):
    pass


class Mirror:
    """A cipher that hides nothing from those who can read backwards."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "mirror", plaintext[::-1]

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "mirror"
        return ciphertext[::-1]


def through(value: Any, serde: Any = None) -> tuple[Any, Any]:
    """The stored form of a value, and the value again, by way of a document that knows no class."""
    values = Values(serde or JsonPlusSerializer())
    stored = values.dump({"key": value}, what="the channel")
    text, blobs = Serde().dump_values(stored)
    return stored["key"], values.load(Serde().load_values(text, blobs))["key"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, 2.5, True, None, "text"], "b": {}},
        (1, (2, [3])),
        {1, 2},
        frozenset({"x"}),
        b"\x00bytes",
        2**70,
        float("inf"),
        "NUL \0 in a text",
        {"$order": 1, "$blob": "x"},
        date(2026, 1, 2),
        timedelta(microseconds=1),
        Decimal("1.20"),
        UUID(int=5),
        {"__langgraph__": 1, "other": 2},
        [{"__langgraph__": ["msgpack", b"not a mark within a value"]}],
    ],
    ids=repr,
)
def test_plain_values_stay_as_they_are(value: Any) -> None:
    stored, found = through(value)
    assert stored == value
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "value",
    [
        Point(1, ["a"]),
        Model(name="x"),
        Colour.red,
        HumanMessage("hi", id="1"),
        [HumanMessage("hi", id="1")],
        {"deep": [{"document": Document("text")}]},
        Send("node", {"x": 1}),
        Send("node", {"x": 1}, timeout=2.5),
        datetime(2026, 1, 2, tzinfo=UTC),
        {1: "a key that is no text"},
        {"__langgraph__": "what looks like a mark"},
        {"__langgraph__": ["msgpack", b"\x01"]},
    ],
    ids=repr,
)
def test_others_go_through_langgraphs_serde(value: Any) -> None:
    stored, found = through(value)
    assert [*stored] == [MARK]
    assert (found, type(found)) == (value, type(value))


def test_subclasses_are_not_taken_for_what_they_extend() -> None:
    for value in (Name("x"), OrderedDict(a=1)):
        stored, found = through(value)
        assert [*stored] == [MARK]
        assert found == value


def test_very_deep_values() -> None:
    value: list[Any] = []
    for _ in range(100):
        value = [value]
    stored, found = through(value)
    assert [*stored] == [MARK]
    assert found == value


def test_what_is_stored_shares_nothing_with_the_value() -> None:
    """LangGraph saves in the background, and its channels change sets and lists in place."""
    value: dict[str, Any] = {"list": [1], "set": {1}, "deep": [{"list": [1]}]}
    stored = Values(JsonPlusSerializer()).dump({"key": value}, what="the channel")["key"]
    value["list"].append(2)
    value["set"].add(2)
    value["deep"][0]["list"].append(2)
    assert stored == {"list": [1], "set": {1}, "deep": [{"list": [1]}]}


def test_a_serializer_of_the_users_own_gets_every_value() -> None:
    stored, found = through("secret", EncryptedSerializer(Mirror()))
    assert [*stored] == [MARK]
    assert b"secret" not in stored[MARK][1]
    assert found == "secret"


def test_a_value_that_cannot_be_stored_is_named() -> None:
    with pytest.raises(SerializationError, match=r"the channel 'key' is a _thread\.lock .* keep it out"):
        through(threading.Lock())
