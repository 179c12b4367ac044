"""`from_langgraph`: a graph that was written for LangGraph, as one of Petiole's."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import NodeTimeoutError as TheirNodeTimeoutError
from langgraph.graph.state import CompiledStateGraph
from langgraph.graph.state import StateGraph as TheirGraph
from langgraph.types import CachePolicy as TheirCachePolicy
from langgraph.types import RetryPolicy as TheirRetryPolicy

from petiole.langgraph.calling import handler_function, node_function, router_function
from petiole.langgraph.conversion import error
from petiole.langgraph.ported import PortedGraph
from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import GraphValidationError
from petiole_stores.memory import MemoryStore
from petiole_workers.compiled import CompiledGraph
from petiole_workers.graph import CachePolicy, RetryPolicy, StateGraph
from petiole_workers.limits import NodeTimeoutError

#: The name of every compiled graph of LangGraph that was given none.
UNNAMED = "LangGraph"
#: A bound recursion limit from here on is meant as none (agents are bound to such).
NO_LIMIT = 9_999


def from_langgraph(
    graph: Any,
    *,
    checkpointer: CheckpointStore | str | None = None,
    name: str | None = None,
    version: str | None = None,
    durability: str | None = None,
) -> CompiledGraph:
    """A LangGraph graph as it is, to be run by Petiole: in process, or on workers, each node a task of its own.

    Its functions stay as they are: ``interrupt``, ``Command``, ``Send``, ``get_config``, ``get_runtime``, ``get_stream_writer`` and
    ``get_store`` of LangGraph work in them. Graphs that are its nodes are unfolded, at any depth.

    Parameters
        graph         a ``StateGraph``, or what its ``compile`` gave; it is not changed
        checkpointer  where ``invoke`` keeps threads: a store of Petiole's or its URL. A graph that had an ``InMemorySaver``
                      keeps them in memory if nothing is said. Workers use their own store
        name          what workers register it under; the compiled graph's name if nothing is said
        version, durability  as in ``StateGraph.compile``

    Raises GraphValidationError naming everything that cannot be carried.
    """
    theirs = _compiled(graph)
    faults: list[str] = []
    ported = _Porting(theirs, faults, cached=theirs is not graph or theirs.cache is not None).graph()
    saver = theirs.checkpointer
    if isinstance(saver, InMemorySaver) and checkpointer is None:
        checkpointer = MemoryStore()
    elif saver is not None and not isinstance(saver, bool) and checkpointer is None:
        faults.append(
            f"the graph was compiled with {type(saver).__name__}, a checkpointer of LangGraph's: give from_langgraph "
            "checkpointer='sqlite:///threads.db' or another store of Petiole's"
        )
    if ported is None or faults:
        raise GraphValidationError(faults)
    definition = ported.definition(
        name=name or (theirs.name if theirs.name != UNNAMED else None),
        version=version,
        interrupt_before=_stops(theirs.interrupt_before_nodes),
        interrupt_after=_stops(theirs.interrupt_after_nodes),
    )
    return PortedGraph(definition, checkpointer, durability=durability, store=theirs.store)


def _compiled(graph: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
    if isinstance(graph, CompiledStateGraph):
        return graph
    if not isinstance(graph, TheirGraph):
        raise GraphValidationError(
            [
                f"from_langgraph was given {graph!r}: give LangGraph's StateGraph, or what its compile() returned"
            ]
        )
    # Compiling writes the node defaults into the nodes: into copies of them.
    builder = copy.copy(graph)
    builder.nodes = {name: dataclasses.replace(node) for name, node in graph.nodes.items()}
    try:
        return builder.compile()
    except ValueError as error:
        raise GraphValidationError([str(error)]) from error


def _stops(nodes: Any) -> Any:
    return nodes if nodes == "*" else tuple(nodes)


class _Porting:
    """One graph on its way; the graphs within it each have a porting of their own.

    faults: takes what cannot be carried, as sentences.
    cached: whether its cache policies count: LangGraph ignores them where the graph was compiled without a cache.
    """

    def __init__(
        self,
        theirs: CompiledStateGraph[Any, Any, Any, Any],
        faults: list[str],
        *,
        cached: bool,
        place: str = "",
    ) -> None:
        self._theirs, self._builder = theirs, theirs.builder
        self._faults, self._cached, self._place = faults, cached, place
        self._bound = theirs.config or {}

    def graph(self) -> StateGraph | None:
        """The graph; ``None`` where its schemas are at fault."""
        theirs, builder = self._theirs, self._builder
        limit = self._bound.get("recursion_limit")
        if limit is not None and limit < NO_LIMIT:
            self._refuse(
                f"the graph is bound to recursion_limit {limit}: give it to invoke or submit, and take it out of with_config"
            )
        if theirs.stream_transformers:
            self._refuse("the graph has stream transformers: Petiole has none, compile it without")
        try:
            ours = StateGraph(
                builder.state_schema,
                builder.context_schema,
                input_schema=builder.input_schema,
                output_schema=builder.output_schema,
            )
        except GraphValidationError as error:
            self._refuse(*error.faults)
            return None
        for name, node in builder.nodes.items():
            if not node.is_error_handler:
                self._add_node(ours, name, node)
        if not self._faults:
            self._connect(ours)
        return ours

    def _refuse(self, *faults: str) -> None:
        self._faults += [f"in {self._place}: {fault}" if self._place else fault for fault in faults]

    def _add_node(self, ours: StateGraph, name: str, node: Any) -> None:
        if node.trace_policy is not None:
            self._refuse(f"node {name!r} has a trace_policy: there is no tracing here, leave it out")
        handler = None
        if node.error_handler_node is not None:
            found: Any = self._builder.nodes[node.error_handler_node]
            handler = handler_function(found.runnable, self._bound)
        try:
            ours.add_node(
                name,
                self._function(name, node.runnable),
                retry_policy=_retries(node.retry_policy),
                timeout=node.timeout,
                defer=node.defer,
                metadata=node.metadata,
                input_schema=node.input_schema,
                error_handler=handler,
                destinations=node.ends or None,
                cache_policy=_cache(node.cache_policy) if self._cached else None,
            )
        except GraphValidationError as error:
            self._refuse(*error.faults)

    def _function(self, name: str, runnable: Any) -> Any:
        """What the node calls, or the graph that it is."""
        if not isinstance(runnable, CompiledStateGraph) or runnable.checkpointer is False:
            return node_function(runnable, self._bound)
        place = f"{self._place}, graph {name!r}" if self._place else f"graph {name!r}"
        inner = _Porting(runnable, self._faults, cached=self._cached, place=place).graph()
        if inner is None or self._faults:
            return node_function(runnable, self._bound)  # never called: the whole is refused
        definition = inner.definition(
            interrupt_before=_stops(runnable.interrupt_before_nodes),
            interrupt_after=_stops(runnable.interrupt_after_nodes),
        )
        return CompiledGraph(definition, True if runnable.checkpointer is True else None)

    def _connect(self, ours: StateGraph) -> None:
        builder = self._builder
        try:
            # Sets in LangGraph: in an order that is the same in every process.
            for start, end in sorted(builder.edges):
                ours.add_edge(start, end)
            for starts, end in sorted(builder.waiting_edges):
                ours.add_edge(list(starts), end)
            for source, branches in builder.branches.items():
                for name, branch in branches.items():
                    path = router_function(branch.path, self._bound)
                    path.__name__ = name
                    if branch.input_schema is not None:
                        path.__annotations__ = {"state": branch.input_schema}
                    ours.add_conditional_edges(source, path, branch.ends)
        except GraphValidationError as error:
            self._refuse(*error.faults)


def _retries(given: Any) -> Sequence[RetryPolicy] | None:
    """LangGraph's policies; which errors they take is asked of the very functions that LangGraph asks."""
    if given is None:
        return None
    policies = (given,) if isinstance(given, TheirRetryPolicy) else tuple(given)
    return tuple(
        RetryPolicy(**policy._asdict() | {"retry_on": _retried(policy.retry_on)}) for policy in policies
    )


def _retried(errors: Any) -> Any:
    """What a policy retries; a timeout, which is Petiole's here, for LangGraph's."""
    if isinstance(errors, type):
        errors = (errors,)
    if errors is TheirRetryPolicy().retry_on:
        return errors
    if callable(errors):
        return lambda raised: errors(error(raised))
    return tuple(NodeTimeoutError if it is TheirNodeTimeoutError else it for it in errors)


def _cache(given: Any) -> CachePolicy | None:
    if given is None:
        return None
    by_default = given.key_func is TheirCachePolicy().key_func
    return CachePolicy(key_func=None if by_default else given.key_func, ttl=given.ttl)
