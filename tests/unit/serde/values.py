"""Classes, random values and a strict comparison for the tests of typed state."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import math
import pathlib
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pydantic
from hypothesis import strategies as st


class Color(enum.Enum):
    RED = "r"
    BLUE = (1, 2)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    LEAF = "leaf"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: object
    y: object = 0


@dataclasses.dataclass
class Doc:
    title: str
    owner: object = None
    parts: list[object] = dataclasses.field(default_factory=list)
    words: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.words = len(self.title.split())


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    name: str
    number: int


class Person(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str
    age: int = 3
    tags: object = None
    _seen: int = pydantic.PrivateAttr(default=0)


class Leaf(msgspec.Struct):
    name: str
    rest: object = None


T = TypeVar("T")


class Only(msgspec.Struct):
    """Reached from the schema alone."""

    word: str


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class State(TypedDict, total=False):
    docs: Annotated[list[Doc], "reducer"]
    people: dict[str, Person | None]
    node: Node
    box: Box[Only]
    level: Literal[Level.LOW]
    color: Color


@dataclasses.dataclass
class Node:
    point: Point
    children: list[Node]
    key: Key | None = None


CLASSES = (Color, Level, Word, Right, Point, Doc, Key, Person, Leaf, Node)

_zones = st.sampled_from(
    [
        None,
        UTC,
        ZoneInfo("UTC"),
        ZoneInfo("Europe/Berlin"),
        timezone(timedelta(hours=-3.5)),
        timezone(timedelta(0), "Z"),
    ]
)
_texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ["", "$", "$blob", "$order", "$$", "\0", "\ud800", "\\u0000", '"$tuple":', "é", "zz", "z" * 40]
)
_floats = st.floats() | st.sampled_from(
    [
        0.0,
        -0.0,
        1e15,
        9999999999999998.0,
        1e16,
        -1e16,
        1.5e300,
        5e-324,
        1e-7,
        0.1,
        1.0,
        math.nan,
        math.inf,
        -math.inf,
    ]
)
_integers = st.integers() | st.sampled_from(
    [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40]
)
_paths = st.sampled_from(
    [
        pathlib.PurePosixPath("/a/b"),
        pathlib.PureWindowsPath("C:\\a"),
        pathlib.Path("x/../y"),
        pathlib.PurePath(""),
    ]
)
hashables = st.recursive(
    st.none()
    | st.booleans()
    | _integers
    | _floats.filter(lambda v: v == v)
    | _texts
    | st.binary(max_size=12)
    | st.datetimes(timezones=_zones, allow_imaginary=True)
    | st.dates()
    | st.times(timezones=st.sampled_from([None, UTC]))
    | st.timedeltas()
    | st.decimals().map(lambda v: Decimal(str(v))).filter(lambda v: not v.is_nan())
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | _paths
    | st.sampled_from([*Color, *Level, *Word, Right.READ, Right.READ | Right.WRITE, Right(0)])
    | st.builds(Key, _texts, _integers),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=4,
)
_person = st.builds(Person, name=st.text(max_size=5), tags=st.none() | st.lists(st.integers(), max_size=2))
values = st.recursive(
    hashables
    | _floats
    | st.complex_numbers()
    | st.binary(max_size=9).map(bytearray)
    | st.sets(hashables, max_size=4)
    | st.decimals()
    | st.builds(collections.Counter, st.text(max_size=5)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(_texts, inner, max_size=5)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.dictionaries(_texts, inner, max_size=3).map(collections.OrderedDict)
        | st.builds(collections.deque, st.lists(inner, max_size=3), st.sampled_from([None, 3]))
        | st.builds(Point, inner, inner)
        | st.builds(Doc, _texts, inner, st.lists(inner, max_size=2))
        | st.builds(Leaf, _texts, inner)
        | _person
        | st.builds(lambda extra: Person(name="n", more=extra), inner)
    ),
    max_leaves=12,
)
state_keys = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6
) | st.sampled_from(["$blob", "$order", "$", "$$x", "messages", "é"])
states = st.dictionaries(state_keys, values, max_size=6)


def same(left: Any, right: Any) -> bool:
    """Whether two values are alike to the last: type, order of keys, sign of zero, time zone, fold, NaN."""
    cls = type(left)
    if cls is not type(right):
        return False
    if cls is float:
        return left.hex() == right.hex()
    if cls is complex:
        return same(left.real, right.real) and same(left.imag, right.imag)
    if cls is Decimal:
        return str(left) == str(right)
    if isinstance(left, enum.Enum):
        return left is right
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(a, b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, collections.deque) and left.maxlen != right.maxlen:
        return False
    if isinstance(left, list | tuple | collections.deque):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, set | frozenset):
        return len(left) == len(right) and all(any(same(a, b) for b in right) for a in left)
    if hasattr(left, "tzinfo"):
        return (left.replace(tzinfo=None), left.fold, str(left.tzinfo)) == (
            right.replace(tzinfo=None),
            right.fold,
            str(right.tzinfo),
        ) and type(left.tzinfo) is type(right.tzinfo)
    if isinstance(left, pydantic.BaseModel):
        return all(
            same(getattr(left, name), getattr(right, name))
            for name in ("__dict__", "model_fields_set", "__pydantic_extra__", "__pydantic_private__")
        )
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    if isinstance(left, msgspec.Struct):
        return all(same(getattr(left, name), getattr(right, name)) for name in left.__struct_fields__)
    return bool(left == right)


def jsonb(text: str) -> str:
    """What PostgreSQL gives back for a JSON text that went through a jsonb column."""

    def number(literal: str) -> object:
        value = Decimal(literal)
        digits = format(value, "f")
        return _Literal(digits.lstrip("-") if value == 0 else digits)

    def ordered(fields: dict[str, object]) -> dict[str, object]:
        return dict(sorted(fields.items(), key=lambda item: (len(item[0].encode()), item[0].encode())))

    def write(item: object) -> str:
        if isinstance(item, _Literal):
            return item.text
        if isinstance(item, dict):
            return (
                "{"
                + ", ".join(f"{json.dumps(k, ensure_ascii=False)}: {write(v)}" for k, v in item.items())
                + "}"
            )
        if isinstance(item, list):
            return "[" + ", ".join(map(write, item)) + "]"
        return json.dumps(item, ensure_ascii=False)

    if "\\u0000" in text:
        raise ValueError("jsonb cannot hold NUL")
    parsed = json.loads(text, object_hook=ordered, parse_float=number, parse_int=number)
    return write(parsed)


@dataclasses.dataclass(frozen=True)
class _Literal:
    """A number as its digits, which must not pass through a float."""

    text: str
