"""The nemesis: strikes again and again, at times and with faults that its seed chooses."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tests.torture.crew import Crew
from tests.torture.faults import FAULTS, Arena, Undo
from tests.torture.ground import Link, TortureGround


class Stroke(NamedTuple):
    """One fault that was done."""

    at: float  #: seconds since the first
    fault: str
    what: str


class Nemesis:
    """Strikes every ``every`` seconds on average until it is stopped.

    Parameters
        names  the faults to choose from
        links  the ways to store and broker that it may disturb
    """

    def __init__(
        self,
        ground: TortureGround,
        crew: Crew,
        links: Sequence[Link],
        *,
        names: Sequence[str],
        seed: int,
        every: float,
        lease: float,
    ) -> None:
        self._names, self._every = list(names), every
        self._random = random.Random(f"{seed}/nemesis")
        self._undo: list[tuple[float, int, Undo]] = []
        self._orders = itertools.count()
        self._arena = Arena(ground, crew, list(links), lease, random.Random(f"{seed}/targets"), self._later)
        self.strokes: list[Stroke] = []
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []  #: errors of its own
        self._stopping = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No further strokes; what lasts is undone. Servers may still be on their way up."""
        self._stopping.set()
        self._thread.join(60)
        while self._undo:
            self._attempt(heapq.heappop(self._undo)[2])

    @property
    def busy(self) -> set[str]:
        """What is still being done in the background."""
        return set(self._arena.busy)

    def _later(self, seconds: float, undo: Undo) -> None:
        heapq.heappush(self._undo, (time.monotonic() + seconds, next(self._orders), undo))

    def _run(self) -> None:
        following = time.monotonic() + self._pause()
        while not self._stopping.is_set():
            now = time.monotonic()
            while self._undo and self._undo[0][0] <= now:
                self._attempt(heapq.heappop(self._undo)[2])
            if now >= following:
                self._strike()
                following = time.monotonic() + self._pause()
            ends = min(following, self._undo[0][0] if self._undo else following)
            self._stopping.wait(max(0.0, ends - time.monotonic()))

    def _pause(self) -> float:
        return min(self._random.expovariate(1 / self._every), 5 * self._every)

    def _strike(self) -> None:
        name = self._random.choices(self._names, [FAULTS[name].weight for name in self._names])[0]
        at = time.monotonic() - self._began
        what = self._attempt(lambda: FAULTS[name].strike(self._arena))
        if isinstance(what, str):
            self.counts[name] += 1
            self.strokes.append(Stroke(round(at, 2), name, what))

    def _attempt(self, work: Undo) -> object:
        try:
            return work()
        except Exception:  # noqa: BLE001 - the nemesis must go on, and the report must have it
            self.faults.append(traceback.format_exc())
            return None
