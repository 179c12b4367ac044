"""The Checkpoint object: made by hand, marshalled in two formats whose bytes are fixed, and read with care."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.codec import AesGcmCodec
from petiole_stores.errors import CorruptionError, InputError, SerializationError, UnfitError
from petiole_stores.serde import Serde
from tests.unit.serde.values import CLASSES, Color, Doc, Leaf, Person, Point, same, states

GOLDEN = Path(__file__).parent
FIXED = Checkpoint(
    id="0193595c-0000-7000-8000-000000000001",
    thread_id="thread-1",
    run_id="run-1",
    parent_id="0193595c-0000-7000-8000-000000000000",
    step=3,
    node_names=("count", "rank"),
    next=("report",),
    timestamp=datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    metadata={"tags": ("a",), "by": None},
    state={
        "words": {"zeta": 1, "a": 2.5, 7: "seven"},
        "docs": [Doc("one two", owner=Person(name="p", extra=1)), Leaf("l", Point(1, {2, 1}))],
        "color": Color.RED,
        "odd": [-0.0, 1e16, 2**70, b"\x00\xff", datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2)))],
        "$escaped": {"$x": 1},
        "nul": "a\0b",
        "big": ["leaf"] * 2000,
    },
)


def test_a_checkpoint_is_easy_to_make_by_hand() -> None:
    one = Checkpoint(state={"a": 1}, node_names=("a",), thread_id="t")
    assert one.node_name == "a"
    assert one.ns == ""
    assert one.run_id is None
    assert one.version == 1
    assert one.timestamp.tzinfo is UTC
    assert len(one.id) == 36
    assert Checkpoint(thread_id="t", node_name="a").node_names == ("a",)
    assert Checkpoint(thread_id="t", node_names=["a", "b"]).node_name == "a,b"
    assert dataclasses.replace(one, step=2).step == 2
    assert dataclasses.replace(one, step=0) == one
    assert dataclasses.replace(one, state={"a": 2}) != one
    assert hash(one) == hash(dataclasses.replace(one))


@pytest.mark.parametrize(
    "fields",
    [
        {"thread_id": 1},
        {"node_names": "a"},
        {"node_name": "a", "node_names": ("a",)},
        {"timestamp": datetime(2024, 1, 1)},
        {"timestamp": "2024-01-01"},
        {"step": True},
        {"state": [1]},
        {"run_id": 5},
        {"next": (1,)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_wrong_fields_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Checkpoint(**{"thread_id": "t", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["json", "msgpack"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(state=states, metadata=states)
def test_a_checkpoint_comes_back(format: str, state: dict[str, object], metadata: dict[str, object]) -> None:
    one = Checkpoint(thread_id="t", node_name="n", state=state, metadata=metadata)
    back = Checkpoint.unmarshal(one.marshal(format, types=CLASSES), CLASSES)  # type: ignore[arg-type]
    assert same(back.state, state)
    assert same(back.metadata, metadata)
    assert dataclasses.replace(back, state={}, metadata={}) == dataclasses.replace(one, state={}, metadata={})


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_the_format_is_the_one_that_was_released(format: str) -> None:
    released = (GOLDEN / f"checkpoint.{format}").read_bytes()
    back = Checkpoint.unmarshal(released, CLASSES)
    assert back == FIXED
    assert same(back.state, FIXED.state)
    # Compressed bytes may differ between versions of zstd, so compare what a value-for-value rewrite gives.
    assert back.marshal(format, types=CLASSES) == FIXED.marshal(format, types=CLASSES)  # type: ignore[arg-type]
    if format == "json":
        assert FIXED.marshal("json", types=CLASSES) == released


def test_encrypted_checkpoints_need_the_key() -> None:
    data = FIXED.marshal("json", serde=Serde(CLASSES, codec=AesGcmCodec({"k": b"1" * 32})))
    assert b"seven" not in data
    assert Checkpoint.unmarshal(data, serde=Serde(CLASSES, codec=AesGcmCodec({"k": b"1" * 32}))) == FIXED
    with pytest.raises(UnfitError, match="'k'"):
        Checkpoint.unmarshal(data, CLASSES)


def test_unregistered_classes_are_named() -> None:
    with pytest.raises(SerializationError, match=r"state\.docs\[0\]"):
        FIXED.marshal()
    with pytest.raises(UnfitError, match="values:"):
        Checkpoint.unmarshal(FIXED.marshal(types=CLASSES))
    with pytest.raises(InputError, match="'xml'"):
        FIXED.marshal("xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["json", "msgpack"])
def test_every_truncation_is_refused(format: str) -> None:
    data = dataclasses.replace(FIXED, state={"a": (1, "x"), "n": "\0"}).marshal(format)  # type: ignore[arg-type]
    for end in range(len(data)):
        with pytest.raises(SerializationError):
            Checkpoint.unmarshal(data[:end])


def test_another_version_is_refused() -> None:
    data = FIXED.marshal(types=CLASSES).replace(b'"petiole":1', b'"petiole":2', 1)
    with pytest.raises(SerializationError, match="format 2"):
        Checkpoint.unmarshal(data, CLASSES)


SAMPLES = [FIXED.marshal("json", types=CLASSES), FIXED.marshal("msgpack", types=CLASSES)]


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=80))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SerializationError):
        Checkpoint.unmarshal(data, CLASSES)


@settings(max_examples=300, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    position=st.floats(0, 1, exclude_max=True),
    patch=st.binary(min_size=1, max_size=4),
)
def test_patched_bytes_are_read_or_refused(sample: bytes, position: float, patch: bytes) -> None:
    start = int(position * len(sample))
    try:
        Checkpoint.unmarshal(sample[:start] + patch + sample[start + len(patch) :], CLASSES)
    except (SerializationError, CorruptionError):
        pass
