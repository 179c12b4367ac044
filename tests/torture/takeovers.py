"""How long work lay with the dead: from the death of a claim's process to the next claim of the same task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from petiole_stores.records import Task
from tests.torture.crew import Kill


def takeover_times(tasks: Iterable[Task], kills: Sequence[Kill]) -> list[float]:
    """Seconds, one for each claim whose process was killed and that another has taken since, sorted."""
    times = []
    for task in tasks:
        claims = [(tried.holder, tried.slot, tried.claimed_at, tried.ended_at) for tried in task.attempts]
        following = [*(claim[2] for claim in claims), task.claimed_at][1:]
        for (holder, slot, claimed_at, ended_at), taken_at in zip(claims, following, strict=True):
            if claimed_at is None or taken_at is None:
                continue
            died = [
                kill.at
                for kill in kills
                if kill.holder == holder
                and kill.slot in ("", slot)
                and claimed_at <= kill.at <= ended_at + 0.5
            ]
            if died and taken_at > claimed_at:
                times.append(max(0.0, taken_at - min(died)))
    return sorted(times)


def quantile(times: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` of sorted times lie; ``None`` of none."""
    return times[min(len(times) - 1, int(share * len(times)))] if times else None
