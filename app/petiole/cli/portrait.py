"""A run drawn on its graph for a terminal: a line a node, in the order of the graph, with how far its tasks are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from petiole.cli import output as out
from petiole.client.naming import graphs_of
from petiole_stores.records import Task
from petiole_workers.graph.drawing import Drawing
from petiole_workers.graph.drawing.layers import layered

#: A node's place: the nodes whose graphs it is in, the outermost first, and its own name.
Place = tuple[str, ...]

BAR = 20
#: How many nodes are drawn; a graph of more is cut where nothing has happened yet.
LINES = 40
MARKS = {
    "done": "✓",
    "claimed": "▶",
    "ready": "◌",
    "parked": "◷",
    "interrupted": "?",
    "failed": "✗",
    "cancelled": "-",
    "": "·",
}
#: Of several tasks of a node, the status that is shown first.
_FIRST = ("failed", "interrupted", "claimed", "parked", "ready", "cancelled", "done")


class Line(NamedTuple):
    """How one node stands: of its newest superstep, tasks by status; ``rounds``: in how many supersteps it was."""

    place: Place
    counts: Mapping[str, int]
    rounds: int

    @property
    def status(self) -> str:
        return next((status for status in _FIRST if self.counts.get(status)), "")

    @property
    def done(self) -> int:
        return self.counts.get("done", 0)

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def lines_of(tasks: Iterable[Task], order: Sequence[Place] = ()) -> list[Line]:
    """A line a node: those of ``order`` first in that order, with each node's subgraph under it, others as they came."""
    newest: dict[Place, tuple[tuple[str, str | None], Counter[str]]] = {}
    rounds: dict[Place, set[tuple[str, str | None]]] = {}
    for task in tasks:
        if task.kind != "node" or task.replaced:
            continue
        place = (*filter(None, graphs_of(task.ns).split("/")), task.node)
        step = (task.ns, task.checkpoint_id)
        rounds.setdefault(place, set()).add(step)
        if place not in newest or newest[place][0] != step:
            newest[place] = step, Counter()
        newest[place][1][task.status] += 1
    places = list(dict.fromkeys([*order, *newest]))
    first = {place: number for number, place in enumerate(places)}
    places.sort(key=lambda place: [first.get(place[: depth + 1], len(places)) for depth in range(len(place))])
    return [
        Line(place, newest[place][1] if place in newest else {}, len(rounds.get(place, ())))
        for place in places
    ]


def order_of(drawing: Drawing) -> list[Place]:
    """A graph's nodes from its start to its end, those of one row as they stand side by side."""
    layers = layered(list(drawing.nodes), [(edge.source, edge.target) for edge in drawing.edges])
    found: dict[Place, None] = {}
    for key in (key for row in layers.rows for key in row if key in drawing.nodes):
        node = drawing.nodes[key]
        ids = ("", *node.group, node.id)  # each begins with the one before it
        place = tuple(id.removeprefix(f"{outer}:") for outer, id in pairwise(ids))
        if node.group:
            found.setdefault(place[:-1])
        if node.kind == "node":
            found.setdefault(place)
    return list(found)


def portrait(lines: Sequence[Line], doing: Callable[[Place], str] = lambda place: "") -> Table:
    """The lines as a table; ``doing`` says what is to be told of a node that runs."""
    kept = lines if len(lines) <= LINES else [line for line in lines if line.total][-LINES:]
    table = Table.grid(padding=(0, 2))
    for line in kept:
        colour = out.COLOURS.get(line.status, "" if line.total else "dim")
        mark = Text(f"{MARKS[line.status]} ", style=colour)
        name = Text("  " * (len(line.place) - 1) + line.place[-1], style="" if line.total else "dim")
        table.add_row(mark + name, _bar(line), _numbers(line), Text(doing(line.place), style="cyan"))
    if len(kept) < len(lines):
        table.add_row(Text(f"  and {len(lines) - len(kept)} more nodes", style="dim"), "", "", "")
    return table


def _bar(line: Line) -> Text:
    """How much of a node's fan-out is done; nothing for a single task."""
    if line.total < 2:
        return Text()
    full = BAR * line.done // line.total
    return Text("━" * full, style="green") + Text("━" * (BAR - full), style="bright_black")


def _numbers(line: Line) -> Text:
    if not line.total:
        return Text()
    others = [
        f"{number} {status}" for status in _FIRST if status != "done" and (number := line.counts.get(status))
    ]
    count = f"{line.done}/{line.total}" if line.total > 1 else ""
    again = f"round {line.rounds}" if line.rounds > 1 else ""
    said = others if line.total > 1 or line.status != "done" else ["done"]
    if line.total == 1 and line.status != "done":
        said = [line.status]
    return Text(", ".join(filter(None, [count, *said, again])))
