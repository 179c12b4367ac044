"""A graph drawn as Mermaid text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from petiole_workers.graph.names import END, START
from petiole_workers.graph.parts import Branch, Join, NodeSpec


def _label(text: object) -> str:
    """``text`` so that Mermaid takes it literally within double quotes."""
    return str(text).replace("#", "#35;").replace('"', "#quot;").replace("\n", " ")


def mermaid(
    nodes: Mapping[str, NodeSpec],
    edges: Iterable[tuple[str, str]],
    joins: Iterable[Join],
    branches: Iterable[Branch],
) -> str:
    """Flowchart text: plain arrows for edges, one small circle for each join, dotted arrows for branches.

    A branch whose router names no possible answers points to every node but its own, as it may go anywhere.
    """
    ids = {START: "s", END: "e"} | {name: f"n{index}" for index, name in enumerate(nodes)}
    lines = ["flowchart TD", f'  s(["{START}"])']
    for name, node in nodes.items():
        text = _label(name) + (" (deferred)" if node.defer else "")
        lines.append(f'  {ids[name]}["{text}"]')
    lines.append(f'  e(["{END}"])')
    lines += [f"  {ids[start]} --> {ids[end]}" for start, end in edges]
    for index, join in enumerate(joins):
        lines.append(f'  j{index}(("all"))')
        lines += [f"  {ids[start]} --> j{index}" for start in dict.fromkeys(join.starts)]
        lines.append(f"  j{index} --> {ids[join.end]}")
    for branch in branches:
        source = ids[branch.source]
        if branch.ends is None:
            anywhere = [ids[name] for name in nodes if name != branch.source] + [ids[END]]
            lines += [f'  {source} -. "{_label(branch.name)}" .-> {target}' for target in anywhere]
        else:
            lines += [
                f'  {source} -. "{_label(answer)}" .-> {ids[end]}' for answer, end in branch.ends.items()
            ]
    return "\n".join(lines) + "\n"
