"""How much of a run a worker may carry before it commits.

========== ============================================================= ==============================================
mode       behaviour                                                     may be lost with a worker
========== ============================================================= ==============================================
sync       every node is committed before the next one starts            nothing
interval   nodes are carried for so many seconds, then committed at once the nodes since the last commit run again
adaptive   as ``interval``, its length found by measuring                the same
async      a bounded queue in the background commits each node           the queue; the run goes on from the last saved
exit       carried to an interrupt, a fan-out, an error or the end       the run starts again
========== ============================================================= ==============================================

Carried nodes are those of a run's lone tasks on queues that the worker serves; a timer, an interrupt, a fan-out, an error and
the end are always committed. What is carried is committed as it would have been node by node: the same tasks, outputs
and checkpoints, in one transaction.

``adaptive`` chooses the interval that Young and Daly give for checkpoints: the square root of twice the cost of a commit
times the mean time between crashes (J. W. Young, CACM 17(9), 1974; J. T. Daly, FGCS 22(3), 2006).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Final

from petiole_stores.errors import ConfigurationError

MODES: Final = ("sync", "interval", "adaptive", "async", "exit")
#: The seed's ``SaveInterval``, for ``interval`` without a number; and the longest that ``adaptive`` takes.
DEFAULT_INTERVAL: Final = 30.0
#: A consistency preset means a durability, and whether a power cut may lose what the store has acknowledged.
PRESETS: Final[dict[str, tuple[str, bool]]] = {
    "strong": ("sync", False),
    "eventual": ("sync", True),
    "session": ("sync", False),
    "minimal": ("async", False),
}
#: Nodes that are carried at the most, whatever the mode: what is carried lies in memory.
MOST: Final = 500


@dataclass(frozen=True, slots=True)
class Durability:
    """A mode, with its interval in seconds where it is ``interval``."""

    mode: str = "sync"
    interval: float = DEFAULT_INTERVAL

    @classmethod
    def parse(cls, text: str) -> Durability:
        """From ``sync``, ``async``, ``exit``, ``adaptive``, ``interval`` or ``interval:SECONDS``.

        Raises ConfigurationError for anything else.
        """
        mode, _, seconds = text.partition(":")
        try:
            interval = float(seconds) if seconds else DEFAULT_INTERVAL
        except ValueError:
            interval = math.nan
        if mode not in MODES or (seconds and mode != "interval") or not 0 < interval < 1e9:
            raise ConfigurationError(
                f"durability is {text!r}: take {', '.join(MODES)}, or interval:SECONDS with a number above 0"
            )
        return cls(mode, interval)

    @property
    def carries(self) -> bool:
        return self.mode != "sync"


def checked(text: str) -> str:
    """The same text. Raises ConfigurationError for what names no durability."""
    Durability.parse(text)
    return text


def preset(consistency: str) -> tuple[str, bool]:
    """The durability of a consistency preset, and whether its commits are relaxed. Raises ConfigurationError."""
    try:
        return PRESETS[consistency]
    except KeyError:
        raise ConfigurationError(f"consistency is {consistency!r}: take {', '.join(PRESETS)}") from None


@dataclass
class Measured:
    """What a process has seen of commits and crashes, for ``adaptive``."""

    cost: float = 0.002  #: seconds that a commit takes, on average
    crashes: int = 0  #: attempts of others that were lost
    began: float = field(default_factory=time.monotonic)

    #: Before anything is known: one crash in so many seconds.
    PRIOR = 4 * 3600.0
    WEIGHT = 0.2

    def committed(self, seconds: float) -> None:
        self.cost += self.WEIGHT * (seconds - self.cost)

    def interval(self) -> float:
        """Young's optimum, at most the default interval."""
        between = (self.PRIOR + time.monotonic() - self.began) / (1 + self.crashes)
        return min(DEFAULT_INTERVAL, math.sqrt(2 * max(self.cost, 1e-5) * between))
