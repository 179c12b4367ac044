"""A drawing as text for Graphviz."""

from __future__ import annotations

from collections.abc import Iterable

from petiole_workers.graph.drawing.drawing import Drawing, DrawnNode
from petiole_workers.graph.drawing.mermaid import COLOURS, groups_of, short_ids

_SHAPES = {
    "node": "shape=box, style=rounded",
    "start": "shape=oval",
    "end": "shape=oval",
    "join": "shape=circle, width=0.3",
}


def dot(drawing: Drawing) -> str:
    """A digraph, subgraphs as clusters."""
    ids = short_ids(drawing.nodes)
    lines = ["digraph {", *_boxes(drawing.nodes.values(), ids, ())]
    for edge in drawing.edges:
        options = ["style=dashed"] if edge.conditional else []
        options += [f"label={_text(edge.label)}"] if edge.label is not None else []
        written = f" [{', '.join(options)}]" if options else ""
        lines.append(f"  {ids[edge.source]} -> {ids[edge.target]}{written};")
    return "\n".join([*lines, "}"]) + "\n"


def _boxes(nodes: Iterable[DrawnNode], ids: dict[str, str], group: tuple[str, ...]) -> list[str]:
    nodes = list(nodes)
    indent = "  " * (len(group) + 1)
    lines = [f"{indent}{ids[node.id]} [{_options(node)}];" for node in nodes if node.group == group]
    for inner in groups_of(nodes, group):
        members = [ids[node.id] for node in nodes if node.group[: len(inner)] == inner]
        lines.append(f"{indent}subgraph cluster_{members[0]}_{len(inner)} {{")
        lines.append(f"{indent}  label={_text(inner[-1].rpartition(':')[2])};")
        lines += _boxes(nodes, ids, inner)
        lines.append(f"{indent}}}")
    return lines


def _options(node: DrawnNode) -> str:
    shape = _SHAPES[node.kind]
    if node.status is not None:
        fill, border = COLOURS[node.status]
        style = "style=rounded" if "style" in shape else None
        shape = shape.replace(", style=rounded", "")
        styles = '"rounded,filled"' if style else "filled"
        shape += f', style={styles}, fillcolor="{fill}", color="{border}"'
    return f"label={_text(node.label)}, {shape}"


def _text(text: object) -> str:
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
