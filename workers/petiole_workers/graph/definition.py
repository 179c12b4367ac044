"""Provisional."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from petiole_workers.graph.types import RetryPolicy


@dataclass(frozen=True)
class NodeSpec:
    name: str
    fn: Callable[..., Any]
    is_async: bool = False
    takes_runtime: bool = False
    retry_policy: tuple[RetryPolicy, ...] = ()
    timeout: float | None = None
    queue: str | None = None
    priority: str | None = None
    defer: bool = False
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class Branch:
    path: Callable[..., Any]
    path_map: dict[Any, str] | None


@dataclass(frozen=True)
class GraphDefinition:
    schema: type
    channels: dict[str, Any]
    nodes: dict[str, NodeSpec]
    edges: frozenset[tuple[str, str]]
    joins: tuple[tuple[tuple[str, ...], str], ...]
    branches: dict[str, list[Branch]]
    name: str | None = None
    version: str | None = None
    interrupt_before: tuple[str, ...] = ()
    interrupt_after: tuple[str, ...] = ()

    def node(self, name: str) -> NodeSpec:
        return self.nodes[name]

    @property
    def schemas(self) -> tuple[type, ...]:
        return (self.schema,)

    @property
    def fingerprint(self) -> str:
        text = repr((sorted(self.nodes), sorted(self.edges), sorted(self.joins), sorted(self.branches), sorted(self.channels)))
        return hashlib.sha256(text.encode()).hexdigest()

    def needs_fresh_values(self, node: str, written: set[str]) -> bool:
        return bool(self.branches.get(node)) or any(self.channels.get(k) is not None for k in written)

    def mermaid(self) -> str:
        return "graph TD\n" + "\n".join(f"  {a} --> {b}" for a, b in sorted(self.edges))
