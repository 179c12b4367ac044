"""Runs of another graph on threads of their own, as nodes: what the author writes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from petiole_stores.errors import GraphValidationError, InputError
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.runtime import Runtime
from petiole_workers.graph.sources import NodeParts

#: Makes something of the state.
OfState = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class ChildCall:
    """What a node asks the engine for.

    graph: the name of the child's graph; ``compiled`` is the graph itself where it was given.
    thread, input: give the child's thread (``None``: one of its own) and input; called when the run is submitted.
    waited: whether the node waits for the child's end.
    """

    graph: str
    compiled: Any
    thread: Callable[[], str | None]
    input: Callable[[], Any]
    waited: bool


def child(
    graph: Any,
    *,
    thread: Callable[[Any], str | None] | None = None,
    input: OfState | None = None,
    output: OfState | str | None = None,
    wait: bool = True,
) -> ChildNode:
    """A node for ``add_node`` that runs another graph on a thread of its own.

    The node submits one run, however often it is tried, and is put away until that has ended: it holds no worker. If the child
    fails, so does the node, by `RunFailedError`; where the node is tried again, or its run replayed, the child's run is replayed.
    While the child is interrupted, paused or blocked, the node waits.

    Parameters
        graph   the name of a graph that workers serve (in process: of one that was compiled here), or a compiled graph, which
                workers of the parent then serve, too
        thread  a function of the state that gives the child's thread, for children that go on from what is there; they run one
                after the other. By default each child has a new thread
        input   a function of the state that gives the child's input; by default the state
        output  a function of the child's result that gives the keys to change, or the key that takes the result; by default the
                result's own keys. Without ``wait``, of a dict with the child's ``thread_id`` and ``run_id``
        wait    whether to wait for the child's end; else the node is over once the run is submitted, and by default writes nothing
    """
    return ChildNode(graph, thread, input, output, wait)


@dataclass(frozen=True)
class ChildNode:
    """What `child` gives."""

    graph: Any
    thread: Callable[[Any], str | None] | None = None
    input: OfState | None = None
    output: OfState | str | None = None
    wait: bool = True

    @property
    def __name__(self) -> str:
        return self.graph if isinstance(self.graph, str) else str(self.graph.name)

    def node_parts(self, node: str, keys: Collection[str]) -> NodeParts:
        """See `NodeSource`. Raises GraphValidationError."""
        compiled = None if isinstance(self.graph, str) else self.graph
        role = f"node {node!r} runs a graph on a thread of its own,"
        faults = []
        if not self.graph or not (
            compiled is None or isinstance(getattr(compiled, "definition", None), GraphDefinition)
        ):
            faults.append(f"{role} and that is {self.graph!r}: give its name, or a compiled graph")
        faults += [
            f"{role} and its {name} is {given!r}: give a function of {of}"
            for name, given, of in (
                ("thread", self.thread, "the state that gives a thread's id"),
                ("input", self.input, "the state"),
                ("output", self.output, "the result, or a key of the state"),
            )
            if not (given is None or callable(given) or (name == "output" and isinstance(given, str)))
        ]
        if isinstance(self.output, str) and self.output not in keys:
            faults.append(f"{role} and is to write {self.output!r}, which is no key of the state")
        if faults:
            raise GraphValidationError(faults)
        return NodeParts(self._function(node, tuple(keys)), child=compiled)

    def _function(self, node: str, keys: tuple[str, ...]) -> Callable[[Any, Runtime[Any]], Any]:
        def run(state: Any, runtime: Runtime[Any]) -> Any:
            def thread() -> str | None:
                given = None if self.thread is None else self.thread(state)
                if given is not None and not isinstance(given, str):
                    raise InputError(f"node {node!r} runs its child on thread {given!r}: its id is text")
                return given

            def input() -> Any:
                return _values(state, keys) if self.input is None else self.input(state)

            compiled = None if isinstance(self.graph, str) else self.graph
            call = ChildCall(self.__name__, compiled, thread, input, self.wait)
            found = runtime.services.child(call)
            if isinstance(self.output, str):
                return {self.output: found}
            if self.output is not None:
                return self.output(found)
            return found if self.wait else None

        return run


def _values(state: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """A state as a dict, whatever its class."""
    if isinstance(state, Mapping):
        return dict(state)
    return {key: getattr(state, key) for key in keys if hasattr(state, key)}
