"""What cannot be stored or read is refused with the path, the type and the remedy; nothing crashes."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
from datetime import datetime, tzinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petiole_stores.errors import CorruptionError, NotFoundError, SerializationError, UnfitError
from petiole_stores.serde import Blob, Serde
from petiole_stores.serde.packed import MAX_DEPTH
from tests.unit.serde.values import (
    CLASSES,
    Box,
    Color,
    Doc,
    Key,
    Leaf,
    Level,
    Node,
    Only,
    Person,
    Point,
    Right,
    State,
    same,
)


class Text(str):
    pass


class Odd(tzinfo):
    pass


class Plain:
    pass


@pytest.mark.parametrize("filler", ["", "x" * 5000], ids=["inline", "blob"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"docs": [1, 2, 3, Doc("a", owner=Plain())]}, ["state.docs[3].owner", "Plain", "no stored form"]),
        (
            {"docs": [Leaf("x", {"a b": Node(Point(1), [])})]},
            ["state.docs[0].rest['a b']", "Node", "register"],
        ),
        ({"n": (1, Text("x"))}, ["state.n[1]", "Text", "convert it with str(...)"]),
        ({"n": collections.defaultdict(list)}, ["state.n", "defaultdict", "convert it with dict(...)"]),
        ({"n": {Text("k"): 1}}, ["state.n: the key 'k'", "Text"]),
        ({"at": [datetime(2024, 1, 1, tzinfo=Odd())]}, ["state.at[0]", "Odd", "zoneinfo"]),
        ({"n": Plain}, ["state.n", "type"]),
        ({"n": len}, ["state.n", "builtin_function_or_method"]),
    ],
)
def test_a_refusal_names_path_type_and_remedy(
    value: dict[str, object], words: list[str], filler: str
) -> None:
    serde = Serde([Doc, Leaf])
    with pytest.raises(SerializationError) as caught:
        serde.dump_values(
            {"filler": filler, **value} if not filler else {k: [filler, v] for k, v in value.items()}
        )
    message = str(caught.value).replace("[1]", "", 1) if filler else str(caught.value)
    for word in words:
        assert word in message


def test_cycles_are_refused_and_shared_references_are_not() -> None:
    serde = Serde([Doc])
    loop: list[object] = [1]
    loop.append({"again": loop})
    wide: list[object] = []
    wide.extend([wide] * 1000)
    doc = Doc("a")
    doc.owner = (doc,)
    for value, path in [(loop, "state.k[1].again"), (wide, "state.k[0]"), (doc, "state.k.owner[0]")]:
        with pytest.raises(SerializationError, match="holds itself") as caught:
            serde.dump_values({"k": value})
        assert path in str(caught.value)
    shared = ["x"]
    assert serde.load(*serde.dump([shared, shared, {"k": shared}])) == [shared, shared, {"k": shared}]


def nested(depth: int, wrap: object) -> object:
    value: object = 1
    for _ in range(depth):
        value = wrap(value)  # type: ignore[operator]
    return value


@pytest.mark.parametrize(
    ("wrap", "depth"),
    [
        (lambda v: [v], MAX_DEPTH - 1),
        (lambda v: {"k": v}, MAX_DEPTH - 1),
        (lambda v: (v,), 70),
        (lambda v: Doc("a", v), 55),
        (lambda v: {1: v}, 55),
    ],
    ids=["list", "dict", "tuple", "dataclass", "int keys"],
)
def test_deep_values_work_up_to_a_limit_and_are_refused_beyond(wrap: object, depth: int) -> None:
    serde = Serde([Doc])
    value = nested(depth, wrap)
    assert same(serde.load(*serde.dump(value)), value)
    with pytest.raises(SerializationError, match="nested deeper"):
        serde.dump(nested(MAX_DEPTH + 2, wrap))


def test_a_class_that_is_missing_when_reading_is_unfitness() -> None:
    for threshold in (0, 4096):
        text, blobs = Serde([Doc], blob_threshold=threshold).dump(Doc("a"))
        with pytest.raises(UnfitError, match=r"tests\.unit\.serde\.values:Doc"):
            Serde().load(text, blobs)


def test_a_class_that_changed_takes_defaults_or_is_unfit() -> None:
    def version(fields: list[object]) -> type:
        return dataclasses.make_dataclass("Changing", fields, namespace={"__module__": __name__})

    old = version([("a", int)])
    more = version([("a", int), ("b", list, dataclasses.field(default_factory=list))])
    text, blobs = Serde([old]).dump(old(1))
    assert Serde([more]).load(text, blobs) == more(1, [])
    with pytest.raises(UnfitError, match="has no field a"):
        Serde([version([("z", int, 0)])]).load(text, blobs)
    with pytest.raises(UnfitError, match="without the field b"):
        Serde([version([("a", int), ("b", int)])]).load(text, blobs)


def test_an_enum_member_that_is_gone_is_unfitness() -> None:
    old = enum.Enum("Shade", ["DARK"], module=__name__)
    new = enum.Enum("Shade", ["LIGHT"], module=__name__)
    with pytest.raises(UnfitError, match="DARK"):
        Serde([new]).load(*Serde([old]).dump(old.DARK))  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", [Text, Plain, int, collections.OrderedDict], ids=lambda cls: cls.__name__)
def test_what_cannot_come_back_cannot_be_registered(cls: type) -> None:
    with pytest.raises(SerializationError, match="cannot be registered"):
        Serde([cls])


def test_a_schema_registers_all_that_its_annotations_reach() -> None:
    serde = Serde()
    serde.register_schema(State)
    value = [
        Doc("a"),
        Person(name="p"),
        Node(Point(1), [], Key("k", 1)),
        Box(Only("w")),
        Level.LOW,
        Color.BLUE,
    ]
    assert same(serde.load(*serde.dump(value)), value)
    with pytest.raises(SerializationError, match="Right"):
        serde.dump(Right.READ)


def test_state_keys_must_be_plain_strings() -> None:
    for key in (1, Text("k"), "a\0", "\ud800"):
        with pytest.raises(SerializationError, match="key"):
            Serde().dump_values({key: 1})  # type: ignore[dict-item]


def test_large_values_become_blobs_and_the_largest_spill_first() -> None:
    serde = Serde(blob_threshold=1000, inline_limit=1500)
    sizes = {"over": 1001, "most": 900, "more": 800, "less": 700, "least": 300}
    state = {key: key[0] * (size - 2) for key, size in sizes.items()}
    text, blobs = serde.dump_values(state)
    inline = {key for key in state if state[key] in text}
    assert inline == {"less", "least"}
    assert len(text) <= 1500
    assert len(blobs) == 3
    assert serde.load_values(text, blobs) == state
    # What changes beside them leaves the spilled ones as they were.
    _, later = serde.dump_values({**state, "least": "z" * 200})
    assert later.keys() == blobs.keys()


def test_known_blobs_are_not_encoded_again_and_equal_values_are_stored_once() -> None:
    serde = Serde()
    state = {"a": "x" * 9000, "b": "x" * 9000, "c": "y" * 9000}
    text, blobs = serde.dump_values(state)
    assert len(blobs) == 2
    first = serde.blob_digests(text)[0]
    again, fresh = serde.dump_values(state, known={first})
    assert again == text
    assert fresh.keys() == blobs.keys() - {first}


def test_changed_and_missing_blobs_are_told_apart() -> None:
    serde = Serde()
    text, blobs = serde.dump(["x" * 9000])
    (digest,) = blobs
    blob = blobs[digest]
    blob.verify()
    broken = Blob(digest, "plain", b"\x91\xa1y", blob.checksum)
    with pytest.raises(CorruptionError, match=digest):
        broken.verify()
    with pytest.raises(CorruptionError, match=digest):
        serde.load(text, {digest: broken})
    with pytest.raises(CorruptionError):
        serde.load(text, {digest: Blob(digest, "zstd", blob.data[:-3])})
    with pytest.raises(NotFoundError, match=digest):
        serde.load(text)


def test_a_string_that_looks_like_a_reference_is_none() -> None:
    serde = Serde()
    text, blobs = serde.dump({"k": '{"$blob": "abc"}', "$blob": "abc"})
    assert serde.blob_digests(text) == []
    assert not blobs


_tags = st.sampled_from(
    ["$tuple", "$dict", "$object", "$datetime", "$order", "$blob", "$int", "$path", "$x", "$$", "a"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_tags, inner, max_size=2),
    max_leaves=8,
)
READER = Serde(CLASSES)


@settings(max_examples=300, deadline=None)
@given(document=_json.map(lambda tree: json.dumps(tree)) | st.text(max_size=30))
def test_any_text_is_read_or_refused(document: str) -> None:
    try:
        READER.load(document)
    except (SerializationError, NotFoundError):
        pass


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60), ext=st.integers(0, 30))
def test_any_bytes_are_read_or_refused(data: bytes, ext: int) -> None:
    for body in (data, bytes([0xC7, len(data), ext]) + data):
        try:
            READER._packer.unpack(body)
        except SerializationError:
            pass
