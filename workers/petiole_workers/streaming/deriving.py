"""From facts to chunks: the same for a run in this process and for one that is followed through the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from petiole_stores.records import Output
from petiole_workers.documents import Documents, Loaded
from petiole_workers.failure import Failure
from petiole_workers.graph import GraphDefinition, Snapshot, TaskSpec, task_input
from petiole_workers.streaming.facts import CheckpointMade, Fact, PlannedTask, Resumed, Said, TaskEnded
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

#: How an interrupt shows among the updates.
INTERRUPT = "__interrupt__"


class Deriver:
    """Makes the chunks of one stream.

    Parameters
        documents    reads what the facts refer to
        modes        what was asked for; nothing else is read
        keys         the keys of the state that ``values`` and ``updates`` show
        graph        the graph, where it is known: for the inputs of nodes with schemas of their own
        checkpoints  whether checkpoints are shown (not those of a graph without a checkpointer, as in LangGraph)
    """

    def __init__(
        self,
        documents: Documents,
        modes: Modes,
        *,
        keys: OutputKeys = None,
        graph: GraphDefinition | None = None,
        checkpoints: bool = True,
    ) -> None:
        self._documents, self._modes = documents, modes
        self._keys, self._graph = keys, graph
        self._checkpoints = checkpoints and modes.derives_checkpoints

    def chunks(self, fact: Fact) -> Iterator[Chunk]:
        """The chunks of one fact, in LangGraph's order."""
        if isinstance(fact, Said):
            made = self._said(fact)
        elif isinstance(fact, TaskEnded):
            made = self._ended(fact)
        else:
            made = self._reached(fact)
        return (chunk for chunk in made if self._modes.wants(chunk))

    # ---------------------------------------------------------------- checkpoints

    def _reached(self, fact: CheckpointMade | Resumed) -> Iterator[Chunk]:
        record, ns = fact.record, namespace(fact.record.ns)
        loaded = self._loaded(fact)
        outputs = self._outputs(record.thread_id, fact.tasks) if isinstance(fact, Resumed) else {}
        if "values" in self._modes and self._shows_values(fact):
            assert loaded is not None
            yield Chunk(ns, "values", shown_values(loaded.snapshot.values, self._keys))
        listed = _in_order(fact.tasks)
        if self._checkpoints:
            assert loaded is not None
            tasks = [checkpoint_task(task, outputs.get(task.path)) for task in listed]
            payload = checkpoint_payload(record, loaded.snapshot.values, tasks)
            yield from self._both(ns, "checkpoints", payload, record.step, "checkpoint")
        if isinstance(fact, CheckpointMade) and fact.waits:
            yield Chunk(ns, "updates", {INTERRUPT: ()})
            return
        if self._modes.derives_tasks and record.source != "input":
            assert loaded is not None
            args = {spec.path: spec for spec in loaded.snapshot.next}
            for task in listed:
                given = self._input(loaded.snapshot, task, args.get(task.path))
                payload = task_payload(task, given, self._graph)
                yield from self._both(ns, "tasks", payload, record.step + 1, "task")
        for task in listed:
            if task.path in outputs:
                update = update_of(task.node, outputs[task.path], self._keys, cached=True)
                yield Chunk(ns, "updates", update)

    def _loaded(self, fact: CheckpointMade | Resumed) -> Loaded | None:
        wanted = self._modes.derives_tasks or self._checkpoints or "values" in self._modes
        return self._documents.checkpoint(fact.record, tasks=self._modes.derives_tasks) if wanted else None

    def _shows_values(self, fact: CheckpointMade | Resumed) -> bool:
        if isinstance(fact, Resumed) or fact.record.source in ("fork", "update"):
            return True
        return fact.record.source != "input" and any(is_shown(key, self._keys) for key in fact.written)

    def _input(self, snapshot: Snapshot, task: PlannedTask, spec: TaskSpec | None) -> object:
        if spec is None:
            spec = TaskSpec(task.path, task.node)
        if self._graph is not None and task.node in self._graph.nodes:
            return task_input(self._graph, snapshot, spec)
        return spec.arg if spec.path.startswith("push:") else dict(snapshot.values)

    def _outputs(self, thread_id: str, tasks: Sequence[PlannedTask]) -> Mapping[str, Writes]:
        done = [Output(path=t.path, node=t.node, output=t.output) for t in tasks if t.output is not None]
        wanted = "updates" in self._modes or self._checkpoints
        return {o.path: o.writes for o in self._documents.outputs(thread_id, done)} if wanted and done else {}

    # ---------------------------------------------------------------- tasks

    def _ended(self, fact: TaskEnded) -> Iterator[Chunk]:
        if "updates" not in self._modes and not self._modes.derives_tasks:
            return
        task, ns = fact.task, namespace(fact.task.ns)
        writes: Writes = ()
        if fact.output is not None:
            found = self._documents.outputs(
                fact.thread_id, [Output(path=task.path, node=task.node, output=fact.output)]
            )[0]
            writes = found.writes
            yield Chunk(ns, "updates", update_of(task.node, writes, self._keys))
        error = error_text(fact.error) if isinstance(fact.error, Failure) else fact.error
        payload = task_result_payload(task, writes, error)
        yield from self._both(ns, "tasks", payload, fact.step, "task_result")

    # ---------------------------------------------------------------- what nodes say

    def _said(self, fact: Said) -> Iterator[Chunk]:
        ns = namespace(fact.ns)
        if fact.kind == "messages":
            yield Chunk(ns, "messages", (fact.value, dict(fact.about)))
        else:
            yield Chunk(ns, "custom", fact.value)

    # ---------------------------------------------------------------- modes

    def _both(
        self, ns: tuple[str, ...], mode: StreamMode, payload: dict[str, Any], step: int, kind: str
    ) -> Iterator[Chunk]:
        """A payload in its own mode, and as ``debug`` has it."""
        yield Chunk(ns, mode, payload)
        if "debug" in self._modes:
            yield Chunk(ns, "debug", debug_payload(step, kind, payload))


def _in_order(tasks: Sequence[PlannedTask]) -> list[PlannedTask]:
    """The tasks as LangGraph lists them: those of Sends first."""
    return sorted(tasks, key=lambda task: (not task.path.startswith("push:"), task.path))
