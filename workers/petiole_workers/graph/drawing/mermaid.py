"""A drawing as Mermaid text."""

from __future__ import annotations

from collections.abc import Iterable

from petiole_workers.graph.drawing.drawing import Drawing, DrawnNode, Status

_SHAPES = {"node": '["{}"]', "start": '(["{}"])', "end": '(["{}"])', "join": '(("{}"))'}

#: How a status looks, here and in DOT: fill and border.
COLOURS: dict[Status, tuple[str, str]] = {
    "done": ("#d3f2d3", "#2e7d32"),
    "running": ("#cfe4ff", "#1565c0"),
    "waiting": ("#f2f2f2", "#757575"),
    "interrupted": ("#fff3c4", "#f9a825"),
    "failed": ("#ffd6d6", "#c62828"),
    "cancelled": ("#e0e0e0", "#424242"),
}


def mermaid(drawing: Drawing) -> str:
    """Flowchart text, with a class for each status that occurs."""
    ids = short_ids(drawing.nodes)
    lines = ["flowchart TD", *_boxes(drawing.nodes.values(), ids, ())]
    for edge in drawing.edges:
        source, target = ids[edge.source], ids[edge.target]
        if not edge.conditional:
            lines.append(f"  {source} --> {target}")
        elif edge.label is None:
            lines.append(f"  {source} -.-> {target}")
        else:
            lines.append(f'  {source} -. "{_text(edge.label)}" .-> {target}')
    for status, (fill, border) in COLOURS.items():
        having = [ids[key] for key, node in drawing.nodes.items() if node.status == status]
        if having:
            lines.append(f"  classDef {status} fill:{fill},stroke:{border}")
            lines.append(f"  class {','.join(having)} {status}")
    return "\n".join(lines) + "\n"


def short_ids(nodes: Iterable[str]) -> dict[str, str]:
    """Ids that every notation takes; the outermost start and end have ``s`` and ``e``."""
    special = {"__start__": "s", "__end__": "e"}
    rest = (name for name in nodes if name not in special)
    return special | {name: f"n{number}" for number, name in enumerate(rest)}


def groups_of(nodes: Iterable[DrawnNode], group: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The groups right within ``group``, in the order in which they are met."""
    size = len(group)
    within = (
        node.group[: size + 1] for node in nodes if node.group[:size] == group and len(node.group) > size
    )
    return list(dict.fromkeys(within))


def _boxes(nodes: Iterable[DrawnNode], ids: dict[str, str], group: tuple[str, ...]) -> list[str]:
    nodes = list(nodes)
    indent = "  " * (len(group) + 1)
    lines = [
        indent + ids[node.id] + _SHAPES[node.kind].format(_text(node.label))
        for node in nodes
        if node.group == group
    ]
    for inner in groups_of(nodes, group):
        first = next(ids[node.id] for node in nodes if node.group[: len(inner)] == inner)
        name = f"g{len(inner)}_{first}"
        lines.append(f'{indent}subgraph {name}["{_text(inner[-1].rpartition(":")[2])}"]')
        lines += _boxes(nodes, ids, inner)
        lines.append(f"{indent}end")
    return lines


def _text(text: object) -> str:
    """``text`` so that Mermaid takes it literally within double quotes."""
    return str(text).replace("#", "#35;").replace('"', "#quot;").replace("\n", " ")
