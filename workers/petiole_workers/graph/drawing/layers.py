"""Which row and which place of it each node has: layers by the longest way from the start, as Sugiyama orders them.

K. Sugiyama, S. Tagawa, M. Toda: Methods for visual understanding of hierarchical system structures, IEEE Trans. SMC 11(2),
1981.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: How often rows are sorted by their neighbours'.
SWEEPS = 4


@dataclass(frozen=True, slots=True)
class Layers:
    """rows: keys from left to right, row by row; a long arrow has a bend in every row that it passes.

    steps: the arrows between neighbouring rows, as (upper, lower, number of the arrow).
    back: numbers of the arrows that lead up or to their own node: they are not among the steps.
    bends: the number of the arrow that each bend is of.
    """

    rows: list[list[str]]
    steps: list[tuple[str, str, int]]
    back: list[int]
    bends: dict[str, int]


def layered(nodes: Sequence[str], arrows: Sequence[tuple[str, str]]) -> Layers:
    """Rows for a graph of any shape; nodes that nothing leads to stand in the first one."""
    back = _back(nodes, arrows)
    forward = [(number, arrow) for number, arrow in enumerate(arrows) if number not in back]
    rank = _ranks(nodes, [arrow for _, arrow in forward])
    rows: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in nodes:
        rows[rank[node]].append(node)
    steps: list[tuple[str, str, int]] = []
    bends: dict[str, int] = {}
    for number, (source, target) in forward:
        above = source
        for row in range(rank[source] + 1, rank[target]):
            bend = f"\0{number}:{row}"
            rows[row].append(bend)
            bends[bend] = number
            steps.append((above, bend, number))
            above = bend
        steps.append((above, target, number))
    _sort(rows, steps)
    return Layers(rows, steps, sorted(back), bends)


def _back(nodes: Sequence[str], arrows: Sequence[tuple[str, str]]) -> set[int]:
    """The arrows that close a circle, found depth first in the order given."""
    leaving: dict[str, list[int]] = {node: [] for node in nodes}
    for number, (source, _) in enumerate(arrows):
        leaving[source].append(number)
    state: dict[str, int] = {}
    back: set[int] = set()
    for root in nodes:
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(leaving[root]))]
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[node] = 2
                stack.pop()
                continue
            target = arrows[following][1]
            if state.get(target) == 1:
                back.add(following)
            elif target not in state:
                state[target] = 1
                stack.append((target, iter(leaving[target])))
    return back


def _ranks(nodes: Sequence[str], arrows: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The length of the longest way to each node of a graph without circles."""
    rank = dict.fromkeys(nodes, 0)
    arrows = list(arrows)
    for _ in nodes:
        changed = False
        for source, target in arrows:
            if rank[target] <= rank[source]:
                rank[target] = rank[source] + 1
                changed = True
        if not changed:
            break
    return rank


def _sort(rows: list[list[str]], steps: Sequence[tuple[str, str, int]]) -> None:
    """Orders each row by the middle of its neighbours above, then below, a few times over."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for upper, lower, _ in steps:
        above.setdefault(lower, []).append(upper)
        below.setdefault(upper, []).append(lower)
    for sweep in range(SWEEPS):
        downwards = sweep % 2 == 0
        order = range(1, len(rows)) if downwards else range(len(rows) - 2, -1, -1)
        for index in order:
            neighbours = rows[index - 1 if downwards else index + 1]
            place = {node: at for at, node in enumerate(neighbours)}
            rows[index].sort(key=lambda node: _middle(node, above if downwards else below, place))


def _middle(node: str, beside: Mapping[str, list[str]], place: Mapping[str, int]) -> float:
    known = [place[other] for other in beside.get(node, ()) if other in place]
    return sum(known) / len(known) if known else len(place) / 2
