"""A schedule as it is kept: what to submit, when, and what came of it last."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from petiole_stores.errors import InputError
from petiole_workers.given import checked_tags
from petiole_workers.schedules.timing import Timing
from petiole_workers.takeover import CHOICES, IfBusy

#: What becomes of times that nobody looked for: the newest alone is made up for, or all of them.
Missed = Literal["skip", "all"]
#: What came of a due time: its run was submitted, its thread was busy, or it could not be submitted at all.
Result = Literal["submitted", "refused", "failed"]

_NAME = re.compile(r"\w[\w.:@-]{0,199}")
#: Times that are at most so long past are on time, in seconds: a sweep that is a little late has missed nothing.
ON_TIME = 10.0
#: Times that one sweep makes up for of one schedule; older ones are given up.
MOST = 100


class Firing(msgspec.Struct, frozen=True):
    """What came of one due time. Times are seconds since the epoch, by the store's clock."""

    due_at: float
    fired_at: float
    result: Result
    run_id: str | None = None
    thread_id: str | None = None
    error: str | None = None  #: why there is no run


class Schedule(msgspec.Struct, kw_only=True, frozen=True):
    """A schedule. Times are seconds since the epoch by the store's clock, durations are seconds."""

    name: str
    id: str  #: of this schedule, whatever others had its name before; ids of its runs derive from it
    graph: str
    timing: Timing
    input: str  #: a document, see :meth:`petiole_stores.serde.Serde.dump_whole`
    thread_id: str | None = None  #: of all its runs; ``None``: a new thread for each
    if_busy: IfBusy = "reject"  #: on ``thread_id``, while another run is active there
    tags: list[str] = []
    metadata: dict[str, Any] = {}
    deadline: float | None = None  #: its runs fail that have not ended so long after their start
    missed: Missed = "skip"
    catch_up: float = 3600.0  #: times that were missed longer ago are given up
    jitter: float = 0.0  #: each run starts up to so long after its time
    until: float | None = None  #: its last time is not after this
    max_runs: int | None = None  #: so many runs are submitted, and no more
    paused: bool = False
    #: Where intervals are counted from, and the next time; ``None`` as written: reckoned from the time of writing.
    anchor: float | None = None
    next_at: float | None = None  #: ``None`` as read: there is none, it is paused or over
    fired: int = 0  #: runs that were submitted
    last: Firing | None = None
    created_at: float | None = None
    updated_at: float | None = None  #: when it was last written, by a sweep or by somebody
    revision: int = 0  #: counts how often it was written

    @property
    def tag(self) -> str:
        """The tag of its runs."""
        return f"schedule:{self.name}"

    @property
    def status(self) -> Literal["active", "paused", "ended"]:
        """``ended``: no time is left, or no run."""
        if self.paused:
            return "paused"
        return "ended" if self.next_at is None else "active"

    def check(self) -> None:
        """Raise InputError for what cannot be kept."""
        check_name(self.name)
        self.timing.check()
        checked_tags(self.tags)
        if not self.graph:
            raise InputError(f"the graph of schedule {self.name!r} is empty: give a graph's name")
        for name, value, known in (
            ("if_busy", self.if_busy, CHOICES),
            ("missed", self.missed, get_args(Missed)),
        ):
            if value not in known:
                raise InputError(f"{name} is {value!r}: take {', '.join(map(repr, known))}")
        for name, number in (("catch_up", self.catch_up), ("jitter", self.jitter)):
            if not 0 <= number < math.inf:
                raise InputError(f"{name} is {number!r}: take a number of seconds from 0 up")
        if self.deadline is not None and not 0 < self.deadline < math.inf:
            raise InputError(f"deadline is {self.deadline!r}: take a number of seconds above 0, or None")
        if self.max_runs is not None and self.max_runs < 1:
            raise InputError(f"max_runs is {self.max_runs!r}: take a whole number from 1 up, or None")
        if not isinstance(self.metadata, Mapping):
            raise InputError(f"metadata is {self.metadata!r}: give an object")

    def first_after(self, moment: float) -> float | None:
        """Its first time after a moment, if it has one and may still submit a run."""
        if self.paused or self.anchor is None or self._left() == 0:
            return None
        at = next(self.timing.after(moment, self.anchor), None)
        return None if at is None or (self.until is not None and at > self.until) else at

    def due(self, now: float) -> list[float]:
        """The times that are to be fired now, oldest first; see the policies ``missed`` and ``catch_up``."""
        if self.paused or self.next_at is None or self.anchor is None or self.next_at > now:
            return []
        end = now if self.until is None else min(now, self.until)
        begin = max(math.nextafter(self.next_at, 0.0), now - max(self.catch_up, ON_TIME))
        found = self.timing.between(begin, end, self.anchor, MOST)
        if self.missed == "skip":
            found = [at for at in found if at >= now - ON_TIME] or found[-1:]
        return found[: self._left()]

    def start_of(self, due: float) -> float:
        """When the run of a due time may start: the jitter is the same whoever reckons it."""
        if not self.jitter:
            return due
        drawn = hashlib.sha256(f"{self.id}:{due!r}".encode()).digest()[:8]
        return due + self.jitter * int.from_bytes(drawn) / 2**64

    def _left(self) -> int | None:
        return None if self.max_runs is None else max(self.max_runs - self.fired, 0)


def check_name(name: str) -> None:
    """Raise InputError unless a schedule may have this name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"the name of a schedule is {name!r}: it needs 1 to 200 letters, digits, '.', ':', '@', '_' or '-', and "
            "begins with a letter, digit or '_'"
        )
