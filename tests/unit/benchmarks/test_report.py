"""The benchmark's arithmetic: a ratio above 1 is in the line's favour, whichever way its measure runs."""

from __future__ import annotations

from tests.benchmarks.report import ratio, table, tied
from tests.benchmarks.workloads import MEASURES


def test_ratio_is_of_medians_and_in_favour_of_the_better() -> None:
    assert ratio(MEASURES["W1"], [1.0, 2.0, 9.0], [4.0, 4.0, 4.0]) == 2.0
    assert ratio(MEASURES["W2"], [600.0], [300.0]) == 2.0
    assert ratio(MEASURES["W2"], [300.0], [600.0]) == 0.5


def test_overlapping_ranges_are_a_tie() -> None:
    assert tied([1.0, 3.0], [2.0, 4.0])
    assert not tied([1.0, 2.0], [3.0, 4.0])


def test_table_sets_each_peer_against_the_rivals_alone() -> None:
    text = table({"ours": {"W1": [2.0, 2.5]}, "theirs": {"W1": [4.0, 5.0]}}, ["theirs"])

    [line] = [line for line in text.splitlines() if line.strip().startswith("ours")]
    assert "2.00x theirs" in line
    assert "(tie)" not in line
    assert sum("x theirs" in line for line in text.splitlines()) == 1
