"""Values come back as they were: types, order, odd numbers and strings; through JSONB and through blobs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petiole_stores.codec import AesGcmCodec, PlainCodec
from petiole_stores.serde import Serde, digest_document
from tests.unit.serde.values import CLASSES, Doc, Key, Person, Point, jsonb, same, states, values

relaxed = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
SERDES = {
    "inline": Serde(CLASSES, blob_threshold=1 << 30, inline_limit=1 << 30),
    "default": Serde(CLASSES),
    "blobs": Serde(CLASSES, blob_threshold=0, codec=PlainCodec()),
    "encrypted": Serde(CLASSES, codec=AesGcmCodec({"k": b"0" * 32})),
}


@pytest.mark.parametrize("serde", SERDES.values(), ids=SERDES.keys())
@relaxed
@given(value=values)
def test_a_value_comes_back_exactly(serde: Serde, value: object) -> None:
    text, blobs = serde.dump(value, thread_id="t")
    assert same(serde.load(text, blobs, thread_id="t"), value)
    assert set(serde.blob_digests(text)) == set(blobs)


@pytest.mark.parametrize("serde", SERDES.values(), ids=SERDES.keys())
@relaxed
@given(state=states)
def test_a_state_survives_jsonb(serde: Serde, state: dict[str, object]) -> None:
    text, blobs = serde.dump_values(state)
    returned = jsonb(text)
    assert same(serde.load_values(returned, blobs), state)
    assert same(serde.load_values(text, blobs), state)
    assert digest_document(returned) == digest_document(text)
    assert serde.dump_values(state)[0] == text


numbers = st.from_regex(r"\A-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?\Z")


@relaxed
@given(literals=st.lists(numbers, max_size=4))
def test_the_digest_of_any_number_survives_jsonb(literals: list[str]) -> None:
    text = "[" + ",".join(literals) + "]"
    assert digest_document(jsonb(text)) == digest_document(text)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ('{"a":1}', '{"a":2}'),
        ("[1]", "[1.0]"),
        ("[1,2]", "[2,1]"),
        ('["1"]', "[1]"),
        ("9" * 30, "9" * 29 + "8"),
    ],
)
def test_the_digest_tells_documents_apart(left: str, right: str) -> None:
    assert digest_document(left) != digest_document(right)


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        math.nan,
        {"$tuple": [1], "b": {"$blob": "x"}},
        {1: "a", "1": "b", (1, None): "c", None: [b"\0", bytearray(b"\xff")]},
        {"b": 1, "a": 2, "é": 3, "zz": 4},
        datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        Decimal("-0E+5"),
        Decimal("sNaN12"),
        Person(name="a"),
        Person(name="a", age=3, more={"x": (1,)}),
        {Key("a", 1): {Point(1): Doc("one two")}},
        Person.model_validate_json('{"name": "a", "tags": null}'),
        timedelta(-1, 5, 7),
        [[[{"deep": ({1, 2}, frozenset({"a"}))}]]],
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_values_come_back_in_text_and_in_bytes(value: object) -> None:
    for serde in SERDES.values():
        assert same(serde.load(*serde.dump(value)), value)


def test_pydantic_times_keep_their_zone_class() -> None:
    class Event(Person):
        at: datetime

    serde = Serde([Event])
    event = Event.model_validate_json('{"name": "a", "at": "2024-01-01T00:00:00+02:00"}')
    back = serde.load(*serde.dump(event))
    assert same(back, event)
    assert type(back.at.tzinfo) is type(event.at.tzinfo)
    assert serde.load(*serde.dump(datetime(2024, 1, 1, tzinfo=UTC))).tzinfo is UTC


def test_equal_sets_give_equal_documents_whatever_their_order() -> None:
    serde = Serde(blob_threshold=64)
    forward = {f"word{index}" for index in range(50)}
    backward = {f"word{index}" for index in reversed(range(50))}
    assert serde.dump({"s": forward})[0] == serde.dump({"s": backward})[0]
    assert serde.dump({8, 0, 16})[0] == serde.dump({16, 8, 0})[0] == '{"$set":[0,16,8]}'


def test_subclass_objects_are_rebuilt_without_running_their_constructor() -> None:
    serde = Serde([Doc])
    doc = Doc("one two")
    doc.words = 77
    assert serde.load(*serde.dump(doc)).words == 77
