"""The state charts in docs/guarantees.md are what the ledger does: each arrow is seen, and nothing else is."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.operations import KINDS, Director

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
NEW = "[*]"
Arrows = set[tuple[str, str]]


def arrows(heading: str) -> Arrows:
    """The arrows of the chart under a heading, without those that lead to the end."""
    chart = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("```", 2)[1]
    found = re.findall(r"^\s+(\S+) --> (\S+?)(?::.*)?$", chart, re.MULTILINE)
    return {(before, after) for before, after in found if after != NEW}


@pytest.fixture(scope="module")
def seen() -> dict[str, Counter[tuple[str, str]]]:
    """How often each change of status was seen over many random sequences of operations."""
    found: dict[str, Counter[tuple[str, str]]] = {"run": Counter(), "task": Counter()}
    dice = random.Random(20261123)
    for _ in range(1200):
        director = Director()
        store = director.model
        before: dict[tuple[str, str], str] = {}
        for _ in range(70):
            for call in director.calls(dice.choice(KINDS), dice.getrandbits(48)):
                call.on(store)
                after = {("run", r.run_id): r.status for r in store._runs.values()}
                after |= {("task", t.task_id): t.status for t in store._tasks.values()}
                for key, status in after.items():
                    if before.get(key, NEW) != status:
                        found[key[0]][before.get(key, NEW), status] += 1
                before = after
    return found


@pytest.mark.parametrize("kind", ["run", "task"])
def test_the_chart_is_what_happens(seen: dict[str, Counter[tuple[str, str]]], kind: str) -> None:
    drawn = arrows(f"State chart of a {kind}")
    happened = set(seen[kind])

    assert happened - drawn == set(), "happens and is not drawn"
    assert drawn - happened == set(), "is drawn and never happens"
