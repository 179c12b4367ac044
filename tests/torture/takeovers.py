"""How long work lay with the dead: from the death of a claim's process to the next claim of the same task.

A claim that had ended by itself shortly before (its task waits for a timer, or for the graph that it is) is none of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from petiole_stores.records import Task
from tests.torture.crew import Kill

#: How the ledger says that a claim's process died.
DIED = ("lost", "crashed", "released")


def takeover_times(tasks: Iterable[Task], kills: Sequence[Kill]) -> list[float]:
    """Seconds, one for each claim whose process was killed and that another has taken since, sorted."""
    times = []
    for task in tasks:
        following = [*(tried.claimed_at for tried in task.attempts), task.claimed_at][1:]
        for tried, taken_at in zip(task.attempts, following, strict=True):
            claimed_at = tried.claimed_at
            if tried.outcome not in DIED or claimed_at is None or taken_at is None:
                continue
            died = [
                kill.at
                for kill in kills
                if kill.holder == tried.holder
                and kill.slot in ("", tried.slot)
                and claimed_at <= kill.at <= tried.ended_at + 0.5
            ]
            if died and taken_at > claimed_at:
                times.append(max(0.0, taken_at - min(died)))
    return sorted(times)


def quantile(times: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` of sorted times lie; ``None`` of none."""
    return times[min(len(times) - 1, int(share * len(times)))] if times else None
