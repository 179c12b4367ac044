"""Provisional."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.definition import Branch, GraphDefinition, NodeSpec
from petiole_workers.graph.types import END, START


class StateGraph:
    def __init__(self, state_schema: type) -> None:
        self.schema = state_schema
        self.nodes: dict[str, NodeSpec] = {}
        self.edges: set[tuple[str, str]] = set()
        self.joins: list[tuple[tuple[str, ...], str]] = []
        self.branches: dict[str, list[Branch]] = {}

    def add_node(self, node: Any, action: Any = None, *, retry_policy: Any = None, timeout: Any = None, queue: Any = None,
                 priority: Any = None, defer: bool = False, metadata: Any = None) -> StateGraph:
        if not isinstance(node, str):
            node, action = node.__name__, node
        params = [p for p in inspect.signature(action).parameters.values()]
        policies = () if retry_policy is None else tuple(retry_policy) if isinstance(retry_policy, (list, tuple)) else (retry_policy,)
        self.nodes[node] = NodeSpec(node, action, inspect.iscoroutinefunction(action), len(params) > 1, policies, timeout, queue, priority, defer, metadata)
        return self

    def add_edge(self, a: Any, b: str) -> StateGraph:
        if isinstance(a, str):
            self.edges.add((a, b))
        else:
            self.joins.append((tuple(a), b))
        return self

    def add_conditional_edges(self, source: str, path: Any, path_map: Any = None) -> StateGraph:
        if isinstance(path_map, list):
            path_map = {x: x for x in path_map}
        self.branches.setdefault(source, []).append(Branch(path, path_map))
        return self

    def compile(self, checkpointer: Any = None, *, name: str | None = None, version: str | None = None,
                interrupt_before: Any = (), interrupt_after: Any = ()) -> Any:
        from petiole_workers.compiled import CompiledGraph

        hints = get_type_hints(self.schema, include_extras=True)
        channels = {}
        for key, hint in hints.items():
            meta = getattr(hint, "__metadata__", ())
            channels[key] = meta[-1] if meta and callable(meta[-1]) else None
        faults = [f"edge to unknown node {b}" for _, b in self.edges if b not in self.nodes and b != END]
        if faults:
            raise GraphValidationError(faults)
        return CompiledGraph(GraphDefinition(self.schema, channels, dict(self.nodes), frozenset(self.edges), tuple(self.joins),
                             self.branches, name, version, tuple(interrupt_before), tuple(interrupt_after)), checkpointer)
