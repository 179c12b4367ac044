"""What can be wrong with a graph as a whole; all of it is found at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from petiole_workers.graph.names import END, START
from petiole_workers.graph.parts import Branch, Join, NodeSpec


def graph_faults(
    nodes: Mapping[str, NodeSpec],
    edges: Iterable[tuple[str, str]],
    branches: Sequence[Branch],
    joins: Iterable[Join],
    interrupt: Iterable[str],
) -> list[str]:
    """One sentence for each fault; empty for a sound graph.

    As in LangGraph, a node that nothing leads to and a node that leads nowhere are no faults.
    """
    edges = list(edges)
    known = f"the nodes are {', '.join(map(repr, nodes)) or 'none yet'}"
    faults = []
    for start, end in edges:
        if start not in nodes and start != START:
            faults.append(
                f"the edge {start!r} -> {end!r} starts at an unknown node: add {start!r} or correct it; {known}"
            )
        if end not in nodes and end != END:
            faults.append(
                f"the edge {start!r} -> {end!r} ends at an unknown node: add {end!r} or correct it; {known}"
            )
    for join in joins:
        faults += [
            f"the join {list(join.starts)} -> {join.end!r} names the unknown node {name!r}: add it or correct it; {known}"
            for name in (*join.starts, join.end)
            if name not in nodes and name != END
        ]
    for branch in branches:
        if branch.source not in nodes and branch.source != START:
            faults.append(
                f"the branch {branch.name!r} starts at the unknown node {branch.source!r}: add it or correct it; {known}"
            )
        faults += [
            f"the branch {branch.name!r} of {branch.source!r} leads to the unknown node {end!r} "
            f"(answer {answer!r}): add it or correct the path_map; {known}"
            for answer, end in (branch.ends or {}).items()
            if end not in nodes and end != END
        ]
    faults += [
        f"node {node.name!r} names the unknown destination {end!r}: add it or correct it; {known}"
        for node in nodes.values()
        for end in node.destinations
        if end not in nodes and end != END
    ]
    if START not in {start for start, _ in edges} | {branch.source for branch in branches}:
        faults.append("the graph has no entry point: add an edge from START, or call set_entry_point")
    faults += [
        f"interrupt names the unknown node {name!r}: correct it; {known}"
        for name in interrupt
        if name not in nodes
    ]
    return faults
