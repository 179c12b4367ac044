"""What is to be drawn: nodes and arrows with names, before any notation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from petiole_workers.graph.names import END, START
from petiole_workers.graph.parts import Branch, Join, NodeSpec

Status = Literal["done", "running", "waiting", "interrupted", "failed", "cancelled"]
Kind = Literal["node", "start", "end", "join"]


@dataclass(frozen=True, slots=True)
class DrawnNode:
    """One box.

    id: unique in the drawing; the node's name, with those of the subgraphs that it is in before it (``outer:inner``).
    label: what stands in it.
    group: the subgraphs that it is in, the outermost first.
    status: how its last task in a run stands; ``None`` where no run is shown, or it has not come to the node.
    """

    id: str
    label: str
    kind: Kind = "node"
    group: tuple[str, ...] = ()
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class DrawnEdge:
    """One arrow; ``conditional`` where a router or a Command decides, ``label`` what it then says."""

    source: str
    target: str
    conditional: bool = False
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph to be drawn, as ``graph.get_graph()`` gives it."""

    nodes: Mapping[str, DrawnNode]
    edges: tuple[DrawnEdge, ...] = field(default=())

    def draw_mermaid(self) -> str:
        """Mermaid flowchart text: plain arrows for edges, dotted ones where a router or a Command decides."""
        from petiole_workers.graph.drawing.mermaid import mermaid

        return mermaid(self)

    def draw_dot(self) -> str:
        """Text for Graphviz."""
        from petiole_workers.graph.drawing.dot import dot

        return dot(self)

    def draw_ascii(self) -> str:
        """Boxes and lines of plain characters, from top to bottom."""
        from petiole_workers.graph.drawing.plain import plain

        return plain(self)

    def with_statuses(self, statuses: Mapping[str, Status]) -> Drawing:
        """The same drawing, with how each node of a run stands."""
        return Drawing(
            {
                key: dataclasses.replace(node, status=statuses.get(key, node.status))
                for key, node in self.nodes.items()
            },
            self.edges,
        )

    def expanded(self, name: str, inner: Drawing) -> Drawing:
        """The drawing with the subgraph ``inner`` in the place of the node ``name``."""
        if name not in self.nodes:
            return self
        place = self.nodes[name]
        ids = {key: f"{name}:{key}" for key in inner.nodes}
        nodes: dict[str, DrawnNode] = {}
        for key, node in self.nodes.items():
            if key != name:
                nodes[key] = node
                continue
            for part in inner.nodes.values():
                group = (*place.group, name, *(f"{name}:{outer}" for outer in part.group))
                nodes[ids[part.id]] = dataclasses.replace(part, id=ids[part.id], group=group)
        entry, leave = ids[START], ids[END]
        edges = [
            dataclasses.replace(
                edge,
                source=leave if edge.source == name else edge.source,
                target=entry if edge.target == name else edge.target,
            )
            for edge in self.edges
        ]
        edges += [
            dataclasses.replace(edge, source=ids[edge.source], target=ids[edge.target])
            for edge in inner.edges
        ]
        return Drawing(nodes, tuple(edges))


def draw(
    nodes: Mapping[str, NodeSpec],
    edges: Iterable[tuple[str, str]],
    joins: Iterable[Join],
    branches: Iterable[Branch],
    subgraphs: Mapping[str, Drawing] | None = None,
) -> Drawing:
    """The drawing of a graph, with those of ``subgraphs`` (by node) in their places.

    A branch whose router names no possible answers points to every node but its own, as it may go anywhere. A node that
    leads nowhere leads to the end.
    """
    drawn = {START: DrawnNode(START, START, "start")}
    for name, node in nodes.items():
        drawn[name] = DrawnNode(name, name + (" (deferred)" if node.defer else ""))
    arrows = [DrawnEdge(start, end) for start, end in edges]
    for number, join in enumerate(joins):
        key = f"|join:{number}"  # no node's name has these characters
        drawn[key] = DrawnNode(key, "all", "join")
        arrows += [DrawnEdge(start, key) for start in dict.fromkeys(join.starts)]
        arrows.append(DrawnEdge(key, join.end))
    for branch in branches:
        if branch.ends is None:
            anywhere = [name for name in nodes if name != branch.source] + [END]
            arrows += [DrawnEdge(branch.source, end, True, branch.name) for end in anywhere]
        else:
            arrows += [DrawnEdge(branch.source, end, True, str(said)) for said, end in branch.ends.items()]
    for name, node in nodes.items():
        arrows += [DrawnEdge(name, end, True, label) for end, label in node.destinations.items()]
    drawn[END] = DrawnNode(END, END, "end")
    led_on = {arrow.source for arrow in arrows}
    arrows += [DrawnEdge(name, END) for name in nodes if name not in led_on]
    drawing = Drawing(drawn, tuple(dict.fromkeys(arrows)))
    for name, inner in (subgraphs or {}).items():
        drawing = drawing.expanded(name, inner)
    return drawing
