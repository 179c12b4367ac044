"""Random graphs as plain data: the same seed gives the same plans in every process."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

from petiole_workers.graph import END, START

#: Retries with a wait above this leave the worker (the setting ``in_process_wait`` of the workers here), in seconds.
IN_PROCESS_WAIT = 0.2
SHORT_WAIT, LONG_WAIT = 0.02, 0.6


class NodePlan(NamedTuple):
    """What one node does."""

    name: str
    sleep: float = 0.0  #: seconds
    rounds: int = 0  #: of arithmetic
    fails: int = 0  #: how many attempts at each of its tasks fail first
    wait: float = SHORT_WAIT  #: seconds before a failed attempt is made again
    text: int = 0  #: length of the text that it writes; above 4096 it becomes a blob
    is_async: bool = False
    is_item: bool = False  #: takes one item of a fan-out in place of the state


class RoutePlan(NamedTuple):
    """A conditional edge.

    one     to one of the targets, by the state
    some    to one or several of them, by the state
    loop    to the first target ``limit`` times, then to the second
    spread  up to ``limit`` items (at least one) to the only target
    """

    source: str
    kind: Literal["one", "some", "loop", "spread"]
    targets: tuple[str, ...]
    limit: int = 0


class GraphPlan(NamedTuple):
    """One graph."""

    name: str
    nodes: tuple[NodePlan, ...]
    edges: tuple[tuple[str, str], ...]
    joins: tuple[tuple[tuple[str, ...], str], ...]
    routes: tuple[RoutePlan, ...]

    def node(self, name: str) -> NodePlan:
        return next(node for node in self.nodes if node.name == name)


def make_plans(seed: int, count: int) -> list[GraphPlan]:
    """``count`` graphs named ``g1``, ``g2`` …"""
    return [
        _Sketch(f"g{number}", random.Random(f"{seed}/graph/{number}")).plan()
        for number in range(1, count + 1)
    ]


class _Sketch:
    """A graph in the making: sections one behind the other, each with one way in and one way out."""

    def __init__(self, name: str, rng: random.Random) -> None:
        self._name, self._rng = name, rng
        self._numbers = itertools.count(1)
        self._nodes: list[NodePlan] = []
        self._edges: list[tuple[str, str]] = []
        self._joins: list[tuple[tuple[str, ...], str]] = []
        self._routes: list[RoutePlan] = []

    def plan(self) -> GraphPlan:
        last = self._add()
        self._edges.append((START, last))
        sections = [self._chain, self._fork, self._uneven, self._choice, self._subset, self._loop, self._fan]
        for section in self._rng.sample(sections, self._rng.randint(1, 3)):
            last = section(last)
        self._edges.append((last, END))
        return GraphPlan(
            self._name, tuple(self._nodes), tuple(self._edges), tuple(self._joins), tuple(self._routes)
        )

    # ---------------------------------------------------------------- sections: from a node to the node where they end

    def _chain(self, start: str) -> str:
        for _ in range(self._rng.randint(1, 3)):
            following = self._add()
            self._edges.append((start, following))
            start = following
        return start

    def _fork(self, start: str) -> str:
        """Branches side by side, joined by a list edge."""
        branches = [*self._several(2, 4)]
        self._edges += [(start, branch) for branch in branches]
        return self._joined(branches)

    def _uneven(self, start: str) -> str:
        """Two branches of different length, joined by a list edge that waits for the longer one."""
        short, long, longer = self._several(3, 3)
        self._edges += [(start, short), (start, long), (long, longer)]
        return self._joined([short, longer])

    def _choice(self, start: str) -> str:
        targets = [*self._several(2, 3)]
        self._routes.append(RoutePlan(start, "one", tuple(targets)))
        return self._merged(targets)

    def _subset(self, start: str) -> str:
        targets = [*self._several(2, 4)]
        self._routes.append(RoutePlan(start, "some", tuple(targets)))
        return self._merged(targets)

    def _loop(self, start: str) -> str:
        around, after = self._add(), self._add()
        self._edges.append((start, around))
        self._routes.append(RoutePlan(around, "loop", (around, after), self._rng.randint(2, 4)))
        return after

    def _fan(self, start: str) -> str:
        item, after = self._add(is_item=True), self._add()
        self._routes.append(RoutePlan(start, "spread", (item,), self._rng.choice([2, 3, 5, 8])))
        self._edges.append((item, after))
        return after

    # ---------------------------------------------------------------- parts

    def _joined(self, branches: list[str]) -> str:
        after = self._add()
        self._joins.append((tuple(branches), after))
        return after

    def _merged(self, targets: list[str]) -> str:
        after = self._add()
        self._edges += [(target, after) for target in targets]
        return after

    def _several(self, least: int, most: int) -> Iterator[str]:
        return (self._add() for _ in range(self._rng.randint(least, most)))

    def _add(self, *, is_item: bool = False) -> str:
        rng = self._rng
        name = f"n{next(self._numbers)}"
        kind = rng.random()
        self._nodes.append(
            NodePlan(
                name,
                sleep=round(rng.uniform(0.005, 0.15), 3) if kind < 0.35 else 0.0,
                rounds=rng.randint(1_000, 30_000) if 0.35 <= kind < 0.6 else 0,
                fails=rng.choice([1, 1, 2]) if rng.random() < 0.2 else 0,
                wait=rng.choice([SHORT_WAIT, LONG_WAIT]),
                text=rng.randint(5_000, 30_000) if rng.random() < 0.2 else 0,
                is_async=rng.random() < 0.15,
                is_item=is_item,
            )
        )
        return name
