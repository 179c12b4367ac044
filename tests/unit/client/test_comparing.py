"""The differences of two states, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from petiole.client.comparing import differences
from petiole.client.plain import SHOWN, shown


@dataclass
class Point:
    x: int
    y: int


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({}, {}, []),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "changed", 1, 2)]),
        ({"a": None}, {}, [("a", "removed", None, None)]),
        ({}, {"a": None}, [("a", "added", None, None)]),
        ({"a": 1}, {"a": True}, [("a", "changed", 1, True)]),
        ({"a": 1}, {"a": 1.0}, [("a", "changed", 1, 1.0)]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, [("a[1]", "changed", 2, 3), ("a[2]", "added", None, 4)]),
        ({"a": [1]}, {"a": []}, [("a[0]", "removed", 1, None)]),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, [("a.b.c", "changed", 1, 2)]),
        ({"a": [1]}, {"a": {"b": 1}}, [("a", "changed", [1], {"b": 1})]),
        ({"p": Point(1, 2)}, {"p": Point(1, 3)}, [("p.y", "changed", 2, 3)]),
    ],
)
def test_each_part_that_is_not_the_same(
    before: dict[str, Any], after: dict[str, Any], found: list[tuple[Any, ...]]
) -> None:
    seen = differences(before, after)
    assert [(one.path, one.kind, one.before, one.after) for one in seen] == found
    assert [type(one.after) for one in seen] == [type(it[3]) for it in found]


def test_a_value_on_one_line() -> None:
    assert shown({"p": Point(1, 2)}) == '{"p":{"x":1,"y":2}}'
    assert shown("x" * 1000) == '"' + "x" * (SHOWN - 1) + "…"
    assert "\n" not in shown("two\nlines")
