"""From facts to chunks: the same for a run in this process and for one that is followed through the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

from petiole_stores.records import Checkpointed, Output
from petiole_workers.documents import Documents, Loaded, written_keys
from petiole_workers.failure import Failure
from petiole_workers.graph import (
    DEFAULT_RECURSION_LIMIT,
    INTERRUPT,
    MISSING,
    GraphDefinition,
    Interrupt,
    Snapshot,
    TaskOutput,
    TaskSpec,
    task_input,
)
from petiole_workers.nesting import namespace as inner_namespace
from petiole_workers.recursion import last_step
from petiole_workers.snapshot import state_config, values_now
from petiole_workers.streaming.facts import (
    CheckpointMade,
    Fact,
    PlannedTask,
    Resumed,
    Said,
    Stopped,
    TaskEnded,
    TaskInterrupted,
    TasksBegun,
)
from petiole_workers.streaming.modes import Chunk, Modes, StreamMode, namespace
from petiole_workers.streaming.payloads import (
    OutputKeys,
    Writes,
    checkpoint_payload,
    checkpoint_task,
    debug_payload,
    error_text,
    is_shown,
    shown_values,
    task_payload,
    task_result_payload,
    update_of,
)

T = TypeVar("T")
#: A chunk that is made when it is wanted: its namespace, its mode, and what makes its data.
Made = tuple[tuple[str, ...], StreamMode, Callable[[], Any]]


class _Once(Generic[T]):
    """A value that is made when it is first asked for."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make

    @cached_property
    def get(self) -> T:
        return self._make()


class Deriver:
    """Makes the chunks of one stream.

    Parameters
        documents    reads what the facts refer to
        modes        what was asked for; nothing else is read
        keys         the keys of the state that ``values`` and ``updates`` show
        graph        the graph, where it is known: for the inputs of nodes with schemas of their own
        checkpoints  whether checkpoints are shown (not those of a graph without a checkpointer, as in LangGraph)
        recursion_limit  of the run, for nodes that read how many steps are left
    """

    def __init__(
        self,
        documents: Documents,
        modes: Modes,
        *,
        keys: OutputKeys = None,
        graph: GraphDefinition | None = None,
        checkpoints: bool = True,
        recursion_limit: int = DEFAULT_RECURSION_LIMIT,
    ) -> None:
        self._recursion_limit = recursion_limit
        self._documents, self.modes = documents, modes
        self._keys, self._graph = keys, graph
        self._checkpoints = checkpoints

    def chunks(self, fact: Fact) -> Iterator[Chunk]:
        """The chunks of one fact that were asked for, in LangGraph's order."""
        return (chunk for _, chunk in self.numbered(fact))

    def numbered(self, fact: Fact, after: int = 0) -> Iterator[tuple[int, Chunk]]:
        """The same with their numbers, from 1, of which the first ``after`` are left out.

        A chunk has the same number whatever modes are asked for.
        """
        for number, (ns, mode, make) in enumerate(self._all(fact), 1):
            if number > after and mode in self.modes and (self.modes.subgraphs or not ns):
                yield number, Chunk(ns, mode, make())

    def _all(self, fact: Fact) -> Iterator[Made]:
        if isinstance(fact, Said):
            return self._said(fact)
        if isinstance(fact, TaskEnded):
            return self._ended(fact)
        if isinstance(fact, TaskInterrupted):
            return self._asked(fact)
        if isinstance(fact, Stopped):
            return self._stopped(fact)
        if isinstance(fact, TasksBegun):
            return self._begun(fact, _Once(lambda: self._documents.checkpoint(fact.record)))
        return self._reached(fact)

    # ---------------------------------------------------------------- checkpoints

    def _reached(self, fact: CheckpointMade | Resumed) -> Iterator[Made]:
        record, ns = fact.record, namespace(fact.record.ns)
        loaded = _Once(lambda: self._documents.checkpoint(record))
        listed = self._listed(fact)
        if self._shows_values(fact):
            yield ns, "values", lambda: shown_values(loaded.get.snapshot.values, self._keys)
        if self._checkpoints:
            payload = _Once(lambda: self._checkpoint(fact, listed, loaded.get))
            yield from _both(ns, "checkpoints", payload, record.step, "checkpoint")
        if isinstance(fact, CheckpointMade) and fact.waits:
            yield ns, "updates", lambda: {INTERRUPT: ()}
        elif record.source != "input":
            yield from self._begun(TasksBegun(record, fact.tasks), loaded)
        if isinstance(fact, Resumed):
            for task in listed:
                if task.output is not None and not self._leaves(record.thread_id, task):
                    yield ns, "updates", partial(self._update, record.thread_id, task, cached=True)

    def _listed(self, fact: CheckpointMade | Resumed) -> list[PlannedTask]:
        """The tasks as LangGraph lists them: those of Sends first; nodes by name, or as they were added where it goes on."""
        graph = self._graph_of(fact.record.ns)
        if isinstance(fact, CheckpointMade) or graph is None:
            return _in_order(fact.tasks)
        places = {name: place for place, name in enumerate(graph.nodes)}
        return sorted(_in_order(fact.tasks), key=lambda task: _is_node(task) and places.get(task.node, 0))

    def _graph_of(self, ns: str) -> GraphDefinition | None:
        return None if self._graph is None else self._graph.within(ns)

    def _begun(self, fact: TasksBegun, loaded: _Once[Loaded]) -> Iterator[Made]:
        ns, step = namespace(fact.record.ns), fact.record.step + 1
        specs = _Once(lambda: {spec.path: spec for spec in loaded.get.snapshot.next})
        for task in _in_order(fact.tasks):
            payload = _Once(partial(self._task, task, loaded, specs))
            yield from _both(ns, "tasks", payload, step, "task")

    def _shows_values(self, fact: CheckpointMade | Resumed) -> bool:
        if isinstance(fact, Resumed) or fact.record.source in ("fork", "update"):
            return True
        if fact.record.source == "input":
            return False
        return fact.written is None or any(is_shown(key, self._keys) for key in fact.written)

    def _checkpoint(
        self, fact: CheckpointMade | Resumed, listed: Sequence[PlannedTask], loaded: Loaded
    ) -> dict[str, Any]:
        resumed = isinstance(fact, Resumed)
        tasks = [
            checkpoint_task(
                task,
                self._writes(fact.record.thread_id, task) if resumed and task.output is not None else (),
                self._inner_config(fact.record, task),
            )
            for task in listed
        ]
        return checkpoint_payload(fact.record, loaded.snapshot.values, tasks)

    def _inner_config(self, record: Checkpointed, task: PlannedTask) -> dict[str, Any] | None:
        """The config of the states below a node that is a graph."""
        graph = self._graph_of(record.ns)
        node = None if graph is None else graph.nodes.get(task.node)
        if node is None or node.subgraph is None:
            return None
        ns = inner_namespace(record.ns, task.node, task.task_id, persistent=node.subgraph.persistent)
        return state_config(record.thread_id, ns, None)

    # ---------------------------------------------------------------- tasks

    def _task(
        self, task: PlannedTask, loaded: _Once[Loaded], specs: _Once[dict[str, TaskSpec]]
    ) -> dict[str, Any]:
        spec = specs.get.get(task.path) or TaskSpec(task.path, task.node)
        graph = self._graph_of(task.ns)
        return task_payload(task, self._input(graph, loaded.get.snapshot, spec), graph)

    def _input(self, graph: GraphDefinition | None, snapshot: Snapshot, spec: TaskSpec) -> object:
        if graph is not None and spec.node in graph.nodes:
            return task_input(graph, snapshot, spec, stop=last_step(snapshot, self._recursion_limit))
        return dict(snapshot.values) if spec.arg is MISSING else spec.arg

    def _ended(self, fact: TaskEnded) -> Iterator[Made]:
        task, ns = fact.task, namespace(fact.task.ns)
        if self._leaves(fact.thread_id, task):
            return
        if task.output is not None:
            yield ns, "updates", partial(self._update, fact.thread_id, task)
        payload = _Once(lambda: self._result(fact))
        yield from _both(ns, "tasks", payload, fact.step, "task_result")

    def _asked(self, fact: TaskInterrupted) -> Iterator[Made]:
        task, ns, asked = fact.task, namespace(fact.task.ns), fact.task.interrupts
        yield ns, "updates", lambda: {INTERRUPT: asked}
        yield ns, "values", lambda: self._values_and(fact.record, asked)
        payload = _Once(lambda: task_result_payload(task, (), None, asked))
        yield from _both(ns, "tasks", payload, fact.record.step + 1, "task_result")

    def _values_and(self, record: Checkpointed, asked: tuple[Interrupt, ...]) -> dict[str, Any]:
        if isinstance(self._keys, str):
            return {INTERRUPT: asked}
        values = self._documents.checkpoint(record, tasks=False).snapshot.values
        return {**shown_values(values, self._keys), INTERRUPT: asked}

    def _stopped(self, fact: Stopped) -> Iterator[Made]:
        """The state with what finished nodes beside an interrupted one have written, if they have."""
        graph = self._graph_of(fact.record.ns)
        done = [task.output for task in fact.tasks if task.status == "done" and task.output is not None]
        if graph is not None and any(
            is_shown(key, self._keys) for output in done for key in written_keys(output)
        ):
            yield (
                namespace(fact.record.ns),
                "values",
                lambda: shown_values(values_now(self._documents, graph, fact.record, fact.tasks), self._keys),
            )

    def _result(self, fact: TaskEnded) -> dict[str, Any]:
        writes = () if fact.task.output is None else self._writes(fact.thread_id, fact.task)
        error = error_text(fact.error) if isinstance(fact.error, Failure) else fact.error
        return task_result_payload(fact.task, writes, error)

    def _update(self, thread_id: str, task: PlannedTask, *, cached: bool = False) -> dict[str, Any]:
        found = self._output(thread_id, task)
        return update_of(task.node, found.writes, self._keys, cached=cached or found.cached)

    def _leaves(self, thread_id: str, task: PlannedTask) -> bool:
        """Whether a node has left its graph by a Command to the parent: the node around it is what has an output then."""
        return bool(task.ns) and task.output is not None and self._output(thread_id, task).to_parent

    def _writes(self, thread_id: str, task: PlannedTask) -> Writes:
        return self._output(thread_id, task).writes

    def _output(self, thread_id: str, task: PlannedTask) -> TaskOutput:
        assert task.output is not None
        output = Output(path=task.path, node=task.node, output=task.output)
        return self._documents.outputs(thread_id, [output])[0]

    # ---------------------------------------------------------------- what nodes say

    def _said(self, fact: Said) -> Iterator[Made]:
        ns = namespace(fact.ns)
        if fact.kind == "messages":
            yield ns, "messages", lambda: (fact.value, dict(fact.about))
        else:
            yield ns, "custom", lambda: fact.value


def _both(
    ns: tuple[str, ...], mode: StreamMode, payload: _Once[dict[str, Any]], step: int, kind: str
) -> Iterator[Made]:
    """A payload in its own mode, and as ``debug`` has it."""
    yield ns, mode, lambda: payload.get
    yield ns, "debug", lambda: debug_payload(step, kind, payload.get)


def _is_node(task: PlannedTask) -> bool:
    return not task.path.startswith("push:")


def _in_order(tasks: Sequence[PlannedTask]) -> list[PlannedTask]:
    """The tasks as LangGraph lists them: those of Sends first."""
    return sorted(tasks, key=lambda task: (_is_node(task), task.path))
