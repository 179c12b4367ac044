"""Texts of the command line as values: JSON inputs, durations, times."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from petiole_stores.errors import InputError

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def json_value(option: str, text: str) -> Any:
    """The value of JSON text, of ``@file``, or of standard input (``-``)."""
    source = text
    if text == "-":
        text, source = sys.stdin.read(), "standard input"
    elif text.startswith("@"):
        source = text[1:]
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{option} names the file {source!r}, which cannot be read: {error}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        shown = source if len(source) <= 60 else source[:60] + "…"
        raise InputError(
            f"{option} is no JSON ({shown!r}: {error}): quote it for the shell, as in {option} '{{\"n\": 1}}', or give @file or -"
        ) from None


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """As :func:`json_value`, for what must be an object."""
    if text is None:
        return None
    value = json_value(option, text)
    if not isinstance(value, dict):
        raise InputError(f"{option} is {value!r}: give a JSON object")
    return value


def duration(option: str, text: str) -> float:
    """Seconds of ``90``, ``30s``, ``5m``, ``1h30m`` or ``2d``."""
    try:
        return float(text)
    except ValueError:
        pass
    if not _DURATION.fullmatch(text):
        raise InputError(f"{option} is {text!r}: give a time such as 30s, 5m, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def moment(option: str, text: str, *, or_span: bool = False) -> datetime:
    """An ISO 8601 time; without a time zone it is this machine's local time. ``or_span``: the option takes both."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        span = "a time such as 10m or 2h, or " if or_span else ""
        raise InputError(
            f"{option} is {text!r}: give {span}an ISO 8601 time such as 2030-01-31T18:00:00+01:00"
        ) from None


def start_time(at: str | None, after: str | None) -> datetime | timedelta | None:
    """The time that ``--at`` names, or how long after now, by the store's clock, ``--in`` does."""
    if at is not None and after is not None:
        raise InputError(f"both --at {at} and --in {after} are given: one time is enough")
    if at is not None:
        return moment("--at", at)
    return None if after is None else timedelta(seconds=duration("--in", after))


def deadline(text: str | None) -> datetime | timedelta | None:
    """When a run is to have ended: an ISO 8601 time, or how long after it may start."""
    if text is None:
        return None
    if text.replace(".", "", 1).isdigit() or _DURATION.fullmatch(text):
        return timedelta(seconds=duration("--deadline", text))
    return moment("--deadline", text, or_span=True)


def past(option: str, text: str | None) -> datetime | None:
    """A time in the past: ISO 8601, or how long ago (``2h``)."""
    if text is None:
        return None
    span = text.removesuffix(" ago")
    if _DURATION.fullmatch(span):
        return datetime.now(UTC) - timedelta(seconds=duration(option, span))
    return moment(option, text, or_span=True)


def statuses(given: Sequence[str]) -> None:
    """Raise InputError for a ``--status`` that no run has."""
    from petiole_stores.records import RunStatus

    for status in given:
        if status not in get_args(RunStatus):
            raise InputError(f"--status is {status!r}: take one of {', '.join(get_args(RunStatus))}")
