"""Which times of a schedule are fired: late, missed, jittered, limited."""

from __future__ import annotations

from typing import Any

import pytest

from petiole_stores.errors import InputError
from petiole_workers.schedules.schedule import MOST, Schedule
from petiole_workers.schedules.timing import Timing

START = 1_800_000_000.0


def schedule(every: float = 60.0, **fields: Any) -> Schedule:
    values: dict[str, Any] = {"anchor": START, "next_at": START + every} | fields
    return Schedule(name="s", id="i", graph="g", input="{}", timing=Timing(every=every), **values)


def due(one: Schedule, now: float) -> list[float]:
    return [at - START for at in one.due(START + now)]


def test_nothing_is_due_before_its_time_or_while_paused() -> None:
    assert due(schedule(), 59.9) == []
    assert due(schedule(), 60.0) == [60.0]
    assert due(schedule(paused=True), 60.0) == []


@pytest.mark.parametrize(
    ("missed", "catch_up", "expected"),
    [
        ("skip", 3600.0, [300.0]),
        ("skip", 20.0, []),
        ("all", 3600.0, [60.0, 120.0, 180.0, 240.0, 300.0]),
        ("all", 130.0, [240.0, 300.0]),
        ("all", 0.0, []),
    ],
)
def test_missed_times(missed: str, catch_up: float, expected: list[float]) -> None:
    assert due(schedule(missed=missed, catch_up=catch_up), 330.0) == expected


def test_what_a_late_sweep_finds_is_not_missed() -> None:
    assert due(schedule(1.0, catch_up=0.0), 3.5) == [1.0, 2.0, 3.0]
    assert due(schedule(1.0), 600.0) == [float(at) for at in range(590, 601)]


def test_all_is_bounded_to_the_newest() -> None:
    found = due(schedule(1.0, missed="all"), 1000.0)
    assert found == [float(at) for at in range(1001 - MOST, 1001)]


def test_the_end_and_the_number_of_runs() -> None:
    assert due(schedule(missed="all", until=START + 130.0), 330.0) == [60.0, 120.0]
    assert due(schedule(missed="all", max_runs=5, fired=3), 330.0) == [60.0, 120.0]
    assert schedule(until=START + 130.0).first_after(START + 120.0) is None
    assert schedule(max_runs=3, fired=3).first_after(START) is None
    assert schedule(next_at=None).status == "ended"


def test_jitter_is_drawn_once_for_each_time() -> None:
    one = schedule(jitter=30.0)
    starts = [one.start_of(START + 60.0 * n) - 60.0 * n - START for n in range(50)]
    assert starts == [one.start_of(START + 60.0 * n) - 60.0 * n - START for n in range(50)]
    assert all(0 <= late < 30.0 for late in starts)
    assert max(starts) - min(starts) > 15.0
    assert schedule().start_of(START) == START


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"missed": "most"}, "missed is 'most'"),
        ({"if_busy": "wait"}, "if_busy is 'wait'"),
        ({"jitter": -1.0}, "jitter is -1.0"),
        ({"catch_up": float("inf")}, "catch_up is inf"),
        ({"deadline": 0.0}, "deadline is 0.0"),
        ({"max_runs": 0}, "max_runs is 0"),
        ({"tags": [""]}, "a tag is ''"),
    ],
)
def test_what_cannot_be_kept(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        schedule(**fields).check()
