"""Which graphs this process serves: loaded from import paths as ``celery -A`` finds apps."""

from __future__ import annotations

import importlib
import os
import sys
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from petiole_stores.errors import ConfigurationError, NotFoundError
from petiole_workers.fitting import queue_of

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph


#: Graphs that were compiled in this process under a name of their own; of one name the newest.
_compiled: weakref.WeakValueDictionary[str, CompiledGraph] = weakref.WeakValueDictionary()


def note_compiled(graph: CompiledGraph) -> None:
    """Let `compiled_here` find a graph."""
    _compiled[graph.name] = graph


def compiled_here(name: str) -> CompiledGraph | None:
    """The graph that was compiled in this process under this name, be it served or not."""
    return _compiled.get(name)


class Registry:
    """Graphs by name."""

    def __init__(self, graphs: Iterable[CompiledGraph] = ()) -> None:
        self._graphs: dict[str, CompiledGraph] = {}
        for graph in graphs:
            self.add(graph)

    def add(self, graph: CompiledGraph) -> None:
        """Take a graph, and those that its nodes run on threads of their own.

        Raises ConfigurationError when another graph has its name.
        """
        known = self._graphs.setdefault(graph.name, graph)
        if known is not graph:
            raise ConfigurationError(
                f"two graphs are named {graph.name!r}: give one of them another name with compile(name=...)"
            )
        for child in graph.children:
            if child.name not in self._graphs:
                self.add(child)

    def get(self, name: str) -> CompiledGraph | None:
        return self._graphs.get(name)

    def __getitem__(self, name: str) -> CompiledGraph:
        try:
            return self._graphs[name]
        except KeyError:
            served = ", ".join(sorted(self._graphs)) or "none"
            raise NotFoundError(f"graph {name!r} is not served here; served are: {served}") from None

    def __iter__(self) -> Iterator[CompiledGraph]:
        return iter(self._graphs.values())

    def __len__(self) -> int:
        return len(self._graphs)

    def queues(self, default: str) -> list[str]:
        """Every queue that these graphs' nodes name, the default one first."""
        named: set[str] = set()
        for graph in self:
            offer = graph.offer
            own = {spec.queue or default for spec in graph.definition.nodes.values()} | {default}
            named |= {queue_of(offer, queue) for queue in own}
        return [default, *sorted(named - {default})]


def load_registry(references: Iterable[str]) -> Registry:
    """Import every reference (``package.module:attribute``; the attribute may be ``graph`` and left out).

    Raises ConfigurationError that names the reference and why it cannot be had.
    """
    registry = Registry()
    for reference in references:
        registry.add(load_graph(reference))
    return registry


def load_graph(reference: str) -> CompiledGraph:
    """The graph at ``package.module:attribute``. A builder or a function of no arguments that gives one will do too."""
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.graph import StateGraph

    module_name, _, attribute = reference.partition(":")
    attribute = attribute or "graph"
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise ConfigurationError(
            f"graph {reference!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(
                f"graph {reference!r}: {module_name} has no attribute {attribute!r}"
            ) from None
    try:
        if callable(found) and not isinstance(found, (CompiledGraph, StateGraph)):
            found = found()
        if isinstance(found, StateGraph):
            found = found.compile(name=attribute if attribute != "graph" else module_name.rpartition(".")[2])
    except (
        Exception
    ) as error:  # as at the import: a user's function may raise anything, and a graph may have faults
        raise ConfigurationError(
            f"graph {reference!r} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, CompiledGraph):
        raise ConfigurationError(
            f"graph {reference!r} is a {type(found).__name__}: name a compiled graph (StateGraph(...).compile())"
        )
    return found
