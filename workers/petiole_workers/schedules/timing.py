"""The times of a schedule: those of a cron expression in a time zone, or every so many seconds from an anchor.

Cron expressions are read and evaluated by cronsim, which goes by Debian's cron. Where clocks are put forward, a time of
day that does not exist comes right after the gap; where they are put back, one that exists twice comes the first time
alone. Expressions whose minute or hour begins with ``*``, and those with a field for seconds, go by elapsed time instead:
they come in every hour that there is, and in both hours of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from itertools import takewhile
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from petiole_stores.errors import InputError

#: The shortest interval, in seconds: workers look for due times about as often.
SHORTEST = 1.0
#: How far back due times are first looked for, in seconds, and by how much further each next time.
_WINDOW, _GROWTH = 60.0, 16


class Timing(msgspec.Struct, frozen=True):
    """When a schedule is due: by ``cron`` in ``timezone``, or every ``every`` seconds."""

    cron: str | None = None
    timezone: str = "UTC"
    every: float | None = None

    def check(self) -> None:
        """Raise InputError unless it is one of both, and has a time."""
        if (self.cron is None) == (self.every is None):
            given = "both a cron expression and an interval" if self.cron else "neither"
            raise InputError(
                f"{given} is given: a schedule has either cron, such as '0 9 * * MON-FRI', or every, in seconds"
            )
        if self.every is not None:
            if not SHORTEST <= self.every < math.inf:
                raise InputError(
                    f"every is {self.every!r}: take a number of seconds from {SHORTEST:g} up, or a cron expression"
                )
            return
        zone(self.timezone)
        try:
            first = next(self.after(datetime.now(UTC).timestamp(), 0.0), None)
        except CronSimError as error:
            raise InputError(
                f"cron is {self.cron!r}: {error}; write minute, hour, day of month, month and day of week, as in '0 9 * * "
                "MON-FRI' (a field for seconds may come before them)"
            ) from None
        if first is None:
            raise InputError(f"cron is {self.cron!r}: there is no such day in the next 50 years")

    def after(self, moment: float, anchor: float) -> Iterator[float]:
        """The times after a moment, oldest first. Times are seconds since the epoch; ``anchor`` is where intervals begin."""
        if self.every is not None:
            yield from _intervals(self.every, moment, anchor)
            return
        for at in CronSim(self.cron or "", datetime.fromtimestamp(moment, zone(self.timezone))):
            if (found := at.timestamp()) > moment:  # an hour that exists twice is begun again from its start
                yield found

    def between(self, after: float, until: float, anchor: float, most: int) -> list[float]:
        """The newest ``most`` times that are later than ``after`` and not later than ``until``, oldest first.

        They are looked for from the end backwards, so that it costs little how long ago ``after`` is.
        """
        window = _WINDOW
        while True:
            begin = max(after, until - window)
            found = [*takewhile(lambda at: at <= until, self.after(begin, anchor))]
            if len(found) >= most or begin == after:
                return found[-most:]
            window *= _GROWTH


def zone(name: str) -> tzinfo:
    """The time zone of an IANA name. Raises InputError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError; folders are OSErrors
        raise InputError(
            f"timezone is {name!r}, which this machine does not know: take an IANA name such as 'Europe/Berlin', or 'UTC'"
        ) from None


def _intervals(every: float, moment: float, anchor: float) -> Iterator[float]:
    number = max(math.floor((moment - anchor) / every), 0)
    while True:
        if (at := anchor + number * every) > moment and number > 0:
            yield at
        number += 1
