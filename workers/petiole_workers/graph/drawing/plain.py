"""A drawing in plain characters."""

from __future__ import annotations

from petiole_workers.graph.drawing.drawing import Drawing, DrawnEdge, DrawnNode, Status
from petiole_workers.graph.drawing.layers import Layers, layered

#: What stands before the name of a node in a run.
MARKS: dict[Status, str] = {
    "done": "[x] ",
    "running": "[>] ",
    "waiting": "[ ] ",
    "interrupted": "[?] ",
    "failed": "[!] ",
    "cancelled": "[-] ",
}
GAP = 3


def plain(drawing: Drawing) -> str:
    """Boxes in rows with lines between them; dotted where a router or a Command decides.

    Arrows that lead back up, and what routers say, are listed below.
    """
    edges = list({(edge.source, edge.target): edge for edge in drawing.edges}.values())
    names = {key: _name(node) for key, node in drawing.nodes.items()}
    layers = layered(list(drawing.nodes), [(edge.source, edge.target) for edge in edges])
    places, width = _places(layers, names)
    canvas: list[str] = []
    for index, row in enumerate(layers.rows):
        dotted = {key for key in row if key in layers.bends and edges[layers.bends[key]].conditional}
        canvas += _row(row, layers, places, names, width, drawing, dotted)
        if index + 1 < len(layers.rows):
            here = set(row)
            steps = [step for step in layers.steps if step[0] in here]
            canvas += _between(steps, places, width, edges)
    back = {(edges[number].source, edges[number].target) for number in layers.back}
    notes = [
        f"{names[edge.source]} {'..' if edge.conditional else '--'}> {names[edge.target]}"
        + (f"  ({edge.label})" if edge.label is not None else "")
        for edge in drawing.edges
        if (edge.source, edge.target) in back or edge.label not in (None, edge.target)
    ]
    text = [line.rstrip() for line in canvas]
    return "\n".join([*text, *(["", *notes] if notes else [])]) + "\n"


def _name(node: DrawnNode) -> str:
    inner = ":".join((*(part.rpartition(":")[2] for part in node.group), node.label))
    return (MARKS[node.status] if node.status else "") + inner.replace("\n", " ")


def _places(layers: Layers, names: dict[str, str]) -> tuple[dict[str, int], int]:
    """The column of the middle of everything, and the width of the whole."""

    def size(key: str) -> int:
        return 1 if key in layers.bends else len(names[key]) + 4

    widths = [sum(map(size, row)) + GAP * (len(row) - 1) for row in layers.rows]
    width = max(widths, default=0)
    places = {}
    for row, used in zip(layers.rows, widths, strict=True):
        left = (width - used) // 2
        for key in row:
            places[key] = left + size(key) // 2
            left += size(key) + GAP
    return places, width


def _row(
    row: list[str],
    layers: Layers,
    places: dict[str, int],
    names: dict[str, str],
    width: int,
    drawing: Drawing,
    dotted: set[str],
) -> list[str]:
    """Three lines: the boxes of a row, and the lines that pass it."""
    lines = [[" "] * width for _ in range(3)]
    for key in row:
        if key in layers.bends:
            for line in lines:
                line[places[key]] = ":" if key in dotted else "|"
            continue
        name = names[key]
        left = places[key] - (len(name) + 4) // 2
        edge = "=" if drawing.nodes[key].kind == "join" else "-"
        for line, text in zip(
            lines, (f"+{edge * (len(name) + 2)}+", f"| {name} |", f"+{edge * (len(name) + 2)}+"), strict=True
        ):
            line[left : left + len(text)] = text
    return ["".join(line) for line in lines]


def _between(
    steps: list[tuple[str, str, int]], places: dict[str, int], width: int, edges: list[DrawnEdge]
) -> list[str]:
    """The lines between two rows: each arrow that moves sideways has a row of its own."""
    # From the ends inwards, so that arrows of one direction do not cross.
    moving = sorted(
        (step for step in steps if places[step[0]] != places[step[1]]),
        key=lambda step: (places[step[0]] > places[step[1]], -places[step[0]], places[step[1]]),
    )
    height = max(1, len(moving)) + 1
    lines = [[" "] * width for _ in range(height)]
    for upper, lower, number in steps:
        start, end = places[upper], places[lower]
        across = moving.index((upper, lower, number)) if start != end else 0
        dotted = edges[number].conditional
        down, sideways = (":", ".") if dotted else ("|", "-")
        for at in range(height):
            column = start if at <= across else end
            _put(lines[at], column, down)
        if start != end:
            for column in range(min(start, end) + 1, max(start, end)):
                _put(lines[across], column, sideways)
            _put(lines[across], start, "+")
            _put(lines[across], end, "+")
        if "\0" not in lower:
            lines[-1][end] = "v"
    return ["".join(line) for line in lines]


def _put(line: list[str], column: int, character: str) -> None:
    """Where a line crosses another, a plus stands."""
    line[column] = character if line[column] in (" ", character) else "+"
