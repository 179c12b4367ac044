"""Damaged text in an answer of a Lua script: it is made readable, and nothing else is changed."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from petiole_stores.redis.texts import readable

SCALARS: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
)
LONG = st.integers(30, 70_000).map(lambda size: "ü" * size)
VALUES = st.recursive(
    SCALARS | LONG,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(), inner, max_size=20)
        | st.integers(16, 70_000).map(lambda size: [None] * size)
    ),
    max_leaves=20,
)


@given(value=VALUES)
def test_sound_text_stays(value: Any) -> None:
    message = msgspec.msgpack.encode(value)
    assert readable(message) == message


@given(before=VALUES, after=VALUES, size=st.integers(1, 400) | st.just(70_000))
def test_damaged_text_becomes_question_marks(before: Any, after: Any, size: int) -> None:
    message = bytearray(msgspec.msgpack.encode([before, "x" * size, after]))
    end = len(message) - len(msgspec.msgpack.encode(after))
    message[end - size : end] = b"\xff" * size
    assert msgspec.msgpack.decode(readable(bytes(message))) == [before, "?" * size, after]
