"""Which calls of a store fail, how, and a record of those that did."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from petiole_stores.errors import ConfigurationError, StoreUnavailableError
from petiole_stores.wrapping import EVENTS as EVENTS
from petiole_stores.wrapping import ITEMS as ITEMS
from petiole_stores.wrapping import OTHER, READING, READING_EVENTS, READING_ITEMS
from petiole_stores.wrapping import PROTOCOL as PROTOCOL
from petiole_stores.wrapping import UPKEEP as UPKEEP

T = TypeVar("T")

Kind = Literal["fail_before", "execute_and_timeout", "delay"]

#: What a fault can be set for: the operations of a store by their public names.
OPERATIONS = frozenset(
    {*PROTOCOL, *UPKEEP, *READING, *ITEMS, *READING_ITEMS, *EVENTS, *READING_EVENTS, *OTHER}
)


@dataclass(frozen=True)
class Fault:
    """What happens at which calls.

    Parameters
        operation    a public name from ``OPERATIONS``, or ``*`` for all of them
        kind         ``fail_before``: nothing is done and StoreUnavailableError is raised; ``execute_and_timeout``: it is
                     done and the error is raised; ``delay``: it is done ``seconds`` later
        nth          only the nth call of the operation, counted from 1 (with ``*``: of all calls)
        probability  of it to happen at a call, from the plan's seed
        seconds      for ``delay``
    """

    operation: str
    kind: Kind
    nth: int | None = None
    probability: float = 1.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.operation != "*" and self.operation not in OPERATIONS:
            raise ConfigurationError(
                f"no store has an operation {self.operation!r}: take one of {', '.join(sorted(OPERATIONS))}, or *"
            )
        if self.nth is not None and self.nth < 1:
            raise ConfigurationError(f"nth is {self.nth}: calls are counted from 1")
        if not 0 <= self.probability <= 1:
            raise ConfigurationError(f"probability is {self.probability}: take a number from 0 to 1")
        if not 0 <= self.seconds < 1e6:
            raise ConfigurationError(f"seconds is {self.seconds}: take a number from 0")


def fail_before(operation: str, *, nth: int | None = None, probability: float = 1.0) -> Fault:
    """Nothing is done, and StoreUnavailableError is raised."""
    return Fault(operation, "fail_before", nth, probability)


def execute_and_timeout(operation: str, *, nth: int | None = None, probability: float = 1.0) -> Fault:
    """It is done, and StoreUnavailableError is raised: the caller cannot know."""
    return Fault(operation, "execute_and_timeout", nth, probability)


def delay(operation: str, seconds: float, *, nth: int | None = None, probability: float = 1.0) -> Fault:
    """It is done ``seconds`` later."""
    return Fault(operation, "delay", nth, probability, seconds)


class FaultPlan:
    """Which calls fail, and a record of those that did; for many threads at once.

    ``struck`` has (operation, number of the call, kind) of each fault that happened, in order; ``calls`` counts the calls
    of each operation, and under ``*`` all. ``sleep`` is for tests of delays.
    """

    def __init__(self, *faults: Fault, seed: int = 0, sleep: Callable[[float], None] = time.sleep) -> None:
        self.calls: Counter[str] = Counter()
        self.struck: list[tuple[str, int, Kind]] = []
        self._faults = [*faults]
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._sleep = sleep

    def add(self, *faults: Fault) -> None:
        """More faults from now on; ``nth`` goes on counting from the plan's first call."""
        with self._lock:
            self._faults += faults

    def clear(self) -> None:
        """No faults from now on; counts and records stay."""
        with self._lock:
            self._faults.clear()

    def around(self, operation: str, call: Callable[[], T]) -> T:
        """Make a call of this operation with the faults that are its turn. Raises StoreUnavailableError for those."""
        chosen = self._choose(operation)
        seconds = sum(fault.seconds for fault in chosen)
        if seconds:
            self._sleep(seconds)
        kinds = {fault.kind for fault in chosen}
        if "fail_before" in kinds:
            raise StoreUnavailableError(f"{operation} was made to fail before it was done")
        found = call()
        if "execute_and_timeout" in kinds:
            raise StoreUnavailableError(f"{operation} was done and made to lose its answer")
        return found

    def _choose(self, operation: str) -> list[Fault]:
        with self._lock:
            self.calls[operation] += 1
            self.calls["*"] += 1
            chosen = [fault for fault in self._faults if self._falls(fault, operation)]
            self.struck += [(operation, self.calls[operation], fault.kind) for fault in chosen]
            return chosen

    def _falls(self, fault: Fault, operation: str) -> bool:
        if fault.operation not in ("*", operation):
            return False
        if fault.nth is not None and self.calls[fault.operation] != fault.nth:
            return False
        return fault.probability >= 1 or self._dice.random() < fault.probability
