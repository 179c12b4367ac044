"""What every peer does, and how its figures are taken."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

from tests.benchmarks.workloads import BIG_CHAIN, LONG_CHAIN, MAP, RUNS, SHORT_CHAIN

#: How often a single run is repeated within one round; its median counts.
REPEATS = 5
BIG_REPEATS = 3


class Peer(ABC):
    """One competitor in one set-up. A context manager: what it needs runs inside the block."""

    name: str

    @abstractmethod
    def __enter__(self) -> Peer: ...

    @abstractmethod
    def __exit__(self, *details: object) -> None: ...

    @abstractmethod
    def once(self, kind: str) -> float:
        """Run the workload ``kind`` (see ``graphs``) once and give its seconds, from the call to the last commit."""

    @abstractmethod
    def many(self) -> float:
        """Start ``RUNS`` short chains on ``PROCESSES`` processes; seconds until the last has ended."""

    @abstractmethod
    def stored(self) -> int:
        """Bytes stored now."""

    def measure(self, only: Collection[str]) -> dict[str, float]:
        """One round: a figure for each measure of the chosen workloads."""
        figures: dict[str, float] = {}
        self.once("short")  # connections, imports and prepared statements
        if "W1" in only:
            self.once("long")
            figures["W1"] = 1000 * self._median("long", REPEATS) / LONG_CHAIN
        if "W2" in only:
            figures["W2"] = RUNS * SHORT_CHAIN / self.many()
        if "W3" in only:
            self.once("fan")
            figures["W3"] = self._median("fan", REPEATS)
        if "W4" in only:
            took, size = self._weighed("changed")
            figures["W4"], figures["W4 stored"] = 1000 * took / BIG_CHAIN, size / 1000
        if "W5" in only:
            took, size = self._weighed("unchanged")
            figures["W5"], figures["W5 stored"] = 1000 * took / BIG_CHAIN, size / 1000
        if "W6" in only:
            # Without what starting a run with such a state stores.
            _, start = self._weighed("wide_once")
            _, size = self._weighed("wide")
            figures["W6 stored"] = (size - start) / 1000 / (BIG_CHAIN - 1)
        if "W7" in only:
            figures["W7"] = (MAP + 2) / self.once("map")
        return figures

    def _median(self, kind: str, repeats: int) -> float:
        return statistics.median(self.once(kind) for _ in range(repeats))

    def _weighed(self, kind: str) -> tuple[float, float]:
        before = self.stored()
        took = self._median(kind, BIG_REPEATS)
        return took, (self.stored() - before) / BIG_REPEATS


Factory = Callable[[], Peer]
