"""The figures of all rounds as a table: medians, ranges, and ratios of medians."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from tests.benchmarks.workloads import MEASURES, Measure

#: Peer -> measure -> one figure a round.
Figures = Mapping[str, Mapping[str, Sequence[float]]]


def ratio(measure: Measure, ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times better ours is, median by median: above 1 in our favour, whichever way the measure runs."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    better, worse = (mine, other) if measure.more_is_better else (other, mine)
    return better / worse if worse else float("inf")


def tied(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Do the ranges overlap? Then the machine's noise is larger than the difference."""
    return min(ours) <= max(theirs) and min(theirs) <= max(ours)


def table(figures: Figures, rivals: Sequence[str]) -> str:
    """Every peer's median (min-max), a line a measure; then how each of the others stands to the rivals."""
    lines = []
    for key, measure in MEASURES.items():
        rows = {peer: taken[key] for peer, taken in figures.items() if key in taken}
        if not rows:
            continue
        arrow = "more is better" if measure.more_is_better else "less is better"
        lines.append(f"\n{key}  {measure.what} ({measure.unit}, {arrow})")
        for peer, values in rows.items():
            against = [
                f"{ratio(measure, values, rows[rival]):5.2f}x {rival}{' (tie)' if tied(values, rows[rival]) else ''}"
                for rival in rivals
                if rival in rows and peer not in rivals
            ]
            lines.append(f"  {peer:28}{_shown(values):26}{'   '.join(against)}")
    lines.append(
        "\nMedian (min-max). Ratios of medians: above 1 the line's peer is better; (tie): the ranges overlap."
    )
    return "\n".join(lines)


def _shown(values: Sequence[float]) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{_number(middle)} ({_number(low)}-{_number(high)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
