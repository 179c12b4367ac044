"""Times of cron expressions and intervals, across changes of the clock."""

from __future__ import annotations

from datetime import datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from petiole_stores.errors import InputError
from petiole_workers.schedules.timing import Timing

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def times(cron: str, after: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    found = islice(Timing(cron, zone).after(at(after), 0.0), count)
    return [datetime.fromtimestamp(one, ZoneInfo(zone)).isoformat() for one in found]


def test_a_time_of_day_keeps_to_the_clock_on_the_wall() -> None:
    assert times("0 9 * * MON-FRI", "2026-03-27T09:00:00+01:00", 2) == [
        "2026-03-30T09:00:00+02:00",
        "2026-03-31T09:00:00+02:00",
    ]


def test_a_time_in_the_gap_comes_right_after_it() -> None:
    assert times("30 2 * * *", "2026-03-28T12:00:00+01:00", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


@pytest.mark.parametrize("after", ["2026-10-24T12:00:00+02:00", "2026-10-25T02:10:00+02:00"])
def test_a_time_that_exists_twice_comes_once(after: str) -> None:
    assert times("30 2 * * *", after, 2) == ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]


def test_whoever_looks_in_the_second_of_two_equal_hours_gets_no_past_time() -> None:
    assert times("30 2 * * *", "2026-10-25T02:10:00+01:00", 1) == ["2026-10-26T02:30:00+01:00"]


def test_every_half_hour_goes_by_elapsed_time() -> None:
    found = [at(one) for one in times("*/30 * * * *", "2026-10-25T01:00:00+02:00", 6)]
    assert [later - sooner for sooner, later in pairwise(found)] == [1800.0] * 5


def test_an_interval_counts_from_its_anchor() -> None:
    assert [*islice(Timing(every=60.0).after(1130.0, 1000.5), 3)] == [1180.5, 1240.5, 1300.5]
    assert next(Timing(every=60.0).after(1000.5, 1000.5)) == 1060.5
    assert next(Timing(every=60.0).after(0.0, 1000.5)) == 1060.5, "the anchor itself is no time"


@pytest.mark.parametrize(("most", "expected"), [(1, [7200.0]), (3, [7080.0, 7140.0, 7200.0])])
def test_the_newest_times_of_a_long_span(most: int, expected: list[float]) -> None:
    assert Timing("* * * * *").between(0.0, 7200.0, 0.0, most) == expected


def test_rare_times_are_found_however_long_ago() -> None:
    year = at("2025-01-01T00:00:00+00:00")
    assert Timing("0 0 1 1 *").between(year - 1, at("2025-11-01T00:00:00+00:00"), 0.0, 5) == [year]
    assert Timing("0 0 1 1 *").between(year, at("2025-11-01T00:00:00+00:00"), 0.0, 5) == []


@pytest.mark.parametrize(
    ("timing", "told"),
    [
        (Timing(), "neither"),
        (Timing("* * * * *", every=5.0), "both"),
        (Timing(every=0.5), "every is 0.5"),
        (Timing("61 * * * *"), "Bad minute"),
        (Timing("* * *"), "Wrong number of fields"),
        (Timing("0 9 * * *", "Mars/Base"), "Mars/Base"),
        (Timing("0 0 31 2 *"), "Bad day-of-month"),
    ],
)
def test_what_is_no_timing_is_refused(timing: Timing, told: str) -> None:
    with pytest.raises(InputError, match=told):
        timing.check()
