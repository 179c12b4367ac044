"""A node that is a graph: it opens a namespace, waits for its end without a worker's slot, and takes its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from petiole_stores.errors import CorruptionError, InvalidUpdateError
from petiole_stores.records import Output
from petiole_workers.damage import UnreadableError
from petiole_workers.documents import Loaded
from petiole_workers.graph import TaskOutput, TaskSpec, from_below, result, task_output
from petiole_workers.hop import Work
from petiole_workers.settling import LEFT, reading

if TYPE_CHECKING:
    from petiole_workers.attempt import Attempt


class Nesting:
    """The namespace of one attempt's task."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def open(self, work: Work, loaded: Loaded, spec: TaskSpec, input: object) -> None:
        """Begin the graph that is this node with ``input``; the task waits for its end.

        Raises InvalidUpdateError where a persistent graph is come to twice in one superstep, and whatever its input's
        reducers and routers raise.
        """
        attempt, task = self._attempt, self._attempt.task
        subgraph = attempt.definition.nodes[spec.node].subgraph
        assert subgraph is not None
        ns, head = namespace(task.ns, spec.node, task.task_id, persistent=subgraph.persistent), None
        if subgraph.persistent:
            if (
                attempt.claim.width > 1
                and sum(it.node == spec.node for it in attempt.base().snapshot.next) > 1
            ):
                raise InvalidUpdateError(
                    f"node {spec.node!r} is a graph with a state of its own (checkpointer=True) and was sent to more than "
                    "once in one superstep: compile it with checkpointer=None"
                )
            with reading():
                record = attempt.runner.store.head(task.thread_id, ns)
                head = attempt.documents.checkpoint(record) if record else None
        attempt.settling.open(work, ns, head, input)

    def output(self, spec: TaskSpec) -> TaskOutput:
        """What the graph has come to, as the output of the node that it is."""
        attempt, task = self._attempt, self._attempt.task
        record = attempt.claim.child
        if record is None:
            raise UnreadableError(
                CorruptionError(
                    f"the last checkpoint of {task.child!r} in thread {task.thread_id!r} is missing"
                )
            )
        with reading():
            snapshot = attempt.documents.checkpoint(record).snapshot
            left = snapshot.control.get(LEFT)
            if left is not None:
                document = Output(path=spec.path, node=spec.node, output=msgspec.json.encode(left).decode())
                below = attempt.documents.outputs(task.thread_id, [document])[0]
        if left is not None:
            return from_below(attempt.definition, spec, below)
        return task_output(
            attempt.definition, spec, result(attempt.definition_of(task.child), snapshot.values)
        )


def namespace(above: str, node: str, task_id: str, *, persistent: bool) -> str:
    """The namespace of a node that is a graph, as LangGraph names it.

    One of its own for each task, ``node:task`` below those of the graphs around it; or, for a graph that goes on from its
    last state, the nodes alone.
    """
    if not persistent:
        return f"{above}|{node}:{task_id}" if above else f"{node}:{task_id}"
    parts = [part.partition(":")[0] for part in above.split("|")] if above else []
    return "|".join([*parts, node])
