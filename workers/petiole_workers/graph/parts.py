"""The parts of a graph: nodes, joins and branches."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from petiole_workers.graph.cache import CachePolicy
from petiole_workers.graph.callables import GraphFunction
from petiole_workers.graph.errors import ErrorHandler
from petiole_workers.graph.schema import Schema
from petiole_workers.retry import RetryStrategy

if TYPE_CHECKING:
    from petiole_workers.graph.definition import GraphDefinition

Priority = Literal["high", "default", "low"]


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A graph that is a node.

    persistent: whether it goes on from its own last state the next time that it is come to on the thread
        (``compile(checkpointer=True)``), or begins anew each time.
    """

    definition: GraphDefinition
    persistent: bool = False


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node.

    input_schema: what its function reads of the state.
    retry_policies: the first one that fits an error decides; empty for no retries.
    timeout: seconds for one attempt; ``None`` for no limit.
    queue, priority: where its tasks wait; ``None`` for the worker's defaults.
    defer: an edge to it is followed only when nothing else is left to run.
    metadata: the author's own, not read by the engine.
    error_handler: called in its place once it has failed for good.
    subgraph: the graph that runs in its place, each of its nodes a task of its own; ``function`` is not called then.
    idle_timeout: seconds for one attempt without a sign of progress; ``None`` for no limit.
    refresh_on: what counts as one (`TimeoutPolicy`).
    destinations: where its Commands may lead, with labels, for drawings.
    cache_policy: which of its results are used again; ``None`` for none.
    child: the compiled graph that it runs on threads of their own, if it was given itself and not by its name.
    """

    name: str
    function: GraphFunction
    input_schema: Schema
    retry_policies: tuple[RetryStrategy, ...] = ()
    timeout: float | None = None
    queue: str | None = None
    priority: Priority | None = None
    defer: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)
    error_handler: ErrorHandler | None = None
    subgraph: Subgraph | None = None
    idle_timeout: float | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"
    destinations: Mapping[str, str | None] = field(default_factory=dict)
    cache_policy: CachePolicy | None = None
    child: Any = None

    @property
    def is_async(self) -> bool:
        """Whether its function gives an awaitable."""
        return self.function.is_async

    @property
    def takes_runtime(self) -> bool:
        """Whether its function takes the `Runtime` beside the state."""
        return "runtime" in self.function.takes


@dataclass(frozen=True, slots=True)
class Join:
    """An edge from several nodes: ``end`` runs once all ``starts`` have run, be it in different supersteps."""

    starts: tuple[str, ...]
    end: str

    @property
    def key(self) -> str:
        """Its name in a snapshot's control."""
        return json.dumps([list(self.starts), self.end], separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Branch:
    """A conditional edge.

    name: the router's name; unique among the branches of one source.
    ends: what the router may answer, and the node that each answer means; ``None`` if it answers with node names.
    input_schema: what the router reads; ``None`` for what its source reads.
    """

    source: str
    name: str
    function: GraphFunction
    ends: Mapping[Hashable, str] | None
    input_schema: Schema | None
