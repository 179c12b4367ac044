"""Durations, times and values as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from petiole import InputError
from petiole.cli.output import span
from petiole.cli.parsing import deadline, duration, moment, past, start_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("0.5h", 1800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration("--in", text) == seconds


@pytest.mark.parametrize("text", ["", "5 minutes", "m5", "-5m", "5m!", "1h 30m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="--in"):
        duration("--in", text)


def test_moments_without_a_zone_are_local() -> None:
    local = moment("--at", "2030-01-31T18:00:00")
    assert local.utcoffset() is not None
    assert local.replace(tzinfo=None) == datetime(2030, 1, 31, 18)
    assert moment("--at", "2030-01-31T18:00:00+02:00") == datetime(2030, 1, 31, 16, tzinfo=UTC)


def test_start_times() -> None:
    assert start_time(None, None) is None
    assert start_time(None, "5m") == timedelta(minutes=5)
    assert start_time("2030-01-01T00:00:00+00:00", None) == datetime(2030, 1, 1, tzinfo=UTC)
    ago = past("--since", "2h")
    assert ago is not None
    assert timedelta(hours=2) <= datetime.now(UTC) - ago < timedelta(hours=3)
    again = past("--since", "2h ago")
    assert again is not None
    assert timedelta() <= again - ago < timedelta(minutes=1)
    with pytest.raises(InputError, match="10m or 2h, or an ISO 8601 time"):
        past("--since", "yesterday")
    assert past("--since", "2020-01-01T00:00:00+00:00") == datetime(2020, 1, 1, tzinfo=UTC)


def test_deadlines() -> None:
    assert deadline(None) is None
    assert deadline("90") == deadline("1m30s") == timedelta(seconds=90)
    assert deadline("2030-01-01T00:00:00+00:00") == datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(InputError, match="10m or 2h, or an ISO 8601 time"):
        deadline("soon")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0042, "4 ms"),
        (3.21, "3.2 s"),
        (42, "42 s"),
        (60, "1m"),
        (125, "2m 5s"),
        (3600, "1h"),
        (90000, "1d 1h"),
        (-5, "0 ms"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
