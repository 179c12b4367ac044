"""`GraphDefinition`: a validated graph that cannot change any more; all that the engine needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from petiole_stores.errors import GraphError
from petiole_workers.graph.drawing import Drawing, draw
from petiole_workers.graph.parts import Branch, Join, NodeSpec
from petiole_workers.graph.schema import Channel, Schema


@dataclass(frozen=True)
class GraphDefinition:
    """A graph as `StateGraph.definition` makes it.

    nodes: by name, in the order added.
    edges: pairs of source and target; ``__start__`` and ``__end__`` among them.
    joins: edges from several nodes at once.
    branches: conditional edges in the order added.
    channels: every key of the state: those of the state's schema, then those that only other schemas name.
    state_schema, input_schema, output_schema: what routers of ``__start__`` read, what an input may write,
        what a run returns.
    interrupt_before, interrupt_after: names of nodes (``"*"`` is written out).
    context_schema: the class of ``runtime.context``; ``None``: whatever a run is given.
    input_key: the key that takes the whole input, whatever it is; ``None``: an input is an update of the state.
    versions: whether a thread goes on with whatever version is served, or with its own alone.
    """

    nodes: Mapping[str, NodeSpec]
    edges: tuple[tuple[str, str], ...]
    joins: tuple[Join, ...]
    branches: tuple[Branch, ...]
    channels: Mapping[str, Channel]
    state_schema: Schema
    input_schema: Schema
    output_schema: Schema
    name: str | None = None
    version: str | None = None
    interrupt_before: tuple[str, ...] = ()
    interrupt_after: tuple[str, ...] = ()
    versions: Literal["upgrade", "pin"] = "upgrade"
    context_schema: type[Any] | None = None
    input_key: str | None = None
    #: SHA-256 in hex over the graph's shape and state keys: the same in every process that builds this graph.
    fingerprint: str = field(init=False)
    _targets: dict[str, tuple[str, ...]] = field(init=False, repr=False)
    _joins_from: dict[str, tuple[Join, ...]] = field(init=False, repr=False)
    _branches_from: dict[str, tuple[Branch, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        targets: dict[str, list[str]] = {}
        joins_from: dict[str, list[Join]] = {}
        branches_from: dict[str, list[Branch]] = {}
        for start, end in self.edges:
            if end in self.nodes:
                targets.setdefault(start, []).append(end)
        for join in self.joins:
            if join.end in self.nodes:
                for start in dict.fromkeys(join.starts):
                    joins_from.setdefault(start, []).append(join)
        for branch in self.branches:
            branches_from.setdefault(branch.source, []).append(branch)
        for name, value in (
            ("_targets", {key: tuple(found) for key, found in targets.items()}),
            ("_joins_from", {key: tuple(found) for key, found in joins_from.items()}),
            ("_branches_from", {key: tuple(found) for key, found in branches_from.items()}),
            ("fingerprint", self._fingerprint()),
        ):
            object.__setattr__(self, name, value)

    def targets(self, source: str) -> tuple[str, ...]:
        """The nodes that plain edges of ``source`` lead to (``__end__`` is none)."""
        return self._targets.get(source, ())

    def joins_from(self, source: str) -> tuple[Join, ...]:
        """The joins that wait for ``source``."""
        return self._joins_from.get(source, ())

    def branches_from(self, source: str) -> tuple[Branch, ...]:
        """The conditional edges of ``source`` in the order added."""
        return self._branches_from.get(source, ())

    def within(self, ns: str) -> GraphDefinition:
        """The graph of a namespace: parts ``node`` or ``node:task`` joined by ``|``, from this graph (``""``) inwards.

        Raises GraphError when this version has no such subgraph.
        """
        graph = self
        for part in ns.split("|") if ns else ():
            node = graph.nodes.get(part.partition(":")[0])
            if node is None or node.subgraph is None:
                raise GraphError(
                    f"this worker's version of graph {self.name!r} has no subgraph {ns!r}: bring it back, or replay the run "
                    "from a checkpoint before it"
                )
            graph = node.subgraph.definition
        return graph

    def family(self) -> Iterator[GraphDefinition]:
        """This graph and all that are its nodes, at any depth."""
        yield self
        for node in self.nodes.values():
            if node.subgraph is not None:
                yield from node.subgraph.definition.family()

    def drawings_within(self, depth: int) -> dict[str, Drawing]:
        """The drawings of the graphs that are nodes of this one, by their names, so many levels deep."""
        if depth < 1:
            return {}
        return {
            node.name: node.subgraph.definition.drawing(node.subgraph.definition.drawings_within(depth - 1))
            for node in self.nodes.values()
            if node.subgraph is not None
        }

    def drawing(self, subgraphs: Mapping[str, Drawing] | None = None) -> Drawing:
        """The graph to be drawn, with the drawings of ``subgraphs`` (by node) in their places."""
        return draw(self.nodes, self.edges, self.joins, self.branches, subgraphs)

    def mermaid(self) -> str:
        """The graph as Mermaid flowchart text."""
        return self.drawing().draw_mermaid()

    def _fingerprint(self) -> str:
        shape = {
            "nodes": sorted([node.name, node.defer] for node in self.nodes.values()),
            "edges": sorted(map(list, self.edges)),
            "joins": sorted([sorted(join.starts), join.end] for join in self.joins),
            "branches": sorted(
                [
                    branch.source,
                    branch.name,
                    None if branch.ends is None else sorted([repr(k), v] for k, v in branch.ends.items()),
                ]
                for branch in self.branches
            ),
            "channels": sorted([channel.name, channel.label] for channel in self.channels.values()),
            "input": sorted(self.input_schema.channels),
            "output": sorted(self.output_schema.channels),
        }
        subgraphs = [
            [node.name, node.subgraph.definition.fingerprint, node.subgraph.persistent]
            for node in self.nodes.values()
            if node.subgraph is not None
        ]
        if subgraphs:
            shape["subgraphs"] = sorted(subgraphs)
        return hashlib.sha256(json.dumps(shape, separators=(",", ":")).encode()).hexdigest()
