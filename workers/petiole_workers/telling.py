"""From a task and what became of it to the events that a graph's listeners are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from petiole_stores.records import Claim
from petiole_workers.documents import planned_nodes
from petiole_workers.graph import HANDLER_PREFIX
from petiole_workers.listening import CheckpointEvent, NodeEndEvent, NodeErrorEvent, NodeEvent

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.hop import Work


class Telling:
    """Tells the listeners of ``graph`` about one claimed task."""

    def __init__(self, graph: CompiledGraph, claim: Claim) -> None:
        self._listeners, self._claim = graph.listeners, claim

    def start(self, attempt: int) -> None:
        """A try at its node begins."""
        if self._hears("on_node_start"):
            self._listeners.tell("on_node_start", NodeEvent(**self._fields(attempt)))

    def error(self, error: BaseException, attempt: int, *, will_retry: bool) -> None:
        """A try at its node has failed."""
        if self._hears("on_node_error"):
            event = NodeErrorEvent(**self._fields(attempt), error=error, will_retry=will_retry)
            self._listeners.tell("on_node_error", event)

    def committed(self, work: Work) -> None:
        """Its outcome is committed."""
        if work.output is not None and self._hears("on_node_end"):
            event = NodeEndEvent(
                **self._fields(work.attempt),
                seconds=work.took,
                writes=work.output.writes,
                handled=work.output.node.startswith(HANDLER_PREFIX),
            )
            self._listeners.tell("on_node_end", event)
        settle = work.outcome.settle
        if settle is None or not self._listeners.hears("on_checkpoint"):
            return
        for made in settle.checkpoints:
            last = made is settle.checkpoints[-1]
            event_of = CheckpointEvent(
                graph=self._claim.run.graph,
                thread_id=self._claim.task.thread_id,
                run_id=self._claim.run.run_id,
                checkpoint_id=made.checkpoint_id,
                step=made.step,
                source=made.source,
                next=planned_nodes(made.next),
                run_status=settle.run_status if last else "running",
            )
            self._listeners.tell("on_checkpoint", event_of)

    def _hears(self, name: str) -> bool:
        return self._claim.task.kind == "node" and self._listeners.hears(name)

    def _fields(self, attempt: int) -> dict[str, Any]:
        task, base = self._claim.task, self._claim.base
        return {
            "graph": self._claim.run.graph,
            "thread_id": task.thread_id,
            "run_id": task.run_id,
            "task_id": task.task_id,
            "node": task.node,
            "attempt": attempt,
            "step": base.step + 1 if base else -1,
        }
