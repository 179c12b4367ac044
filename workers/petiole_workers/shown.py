"""How a run stands on its graph: a status for each node, for drawings."""

from __future__ import annotations

from collections.abc import Iterable

from petiole_stores.records import Run, Task
from petiole_workers.graph import END, START
from petiole_workers.graph.drawing import Status

_STATUSES: dict[str, Status] = {
    "ready": "waiting",
    "parked": "waiting",
    "claimed": "running",
    "interrupted": "interrupted",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
#: Of several tasks of a node in its newest superstep, the one that is shown.
_FIRST: tuple[Status, ...] = ("failed", "running", "interrupted", "waiting", "cancelled", "done")


def statuses_of(run: Run, tasks: Iterable[Task]) -> dict[str, Status]:
    """The status of each node that the run has come to, by its newest superstep there; START and END by the run's.

    ``tasks`` are the run's in the order of their making, as the store lists them.
    """
    newest: dict[str, tuple[str | None, list[Status]]] = {}
    for task in tasks:
        if task.kind != "node" or task.replaced or task.ns:  # what is within a subgraph is not the graph's
            continue
        checkpoint, found = newest.get(task.node, (None, []))
        if checkpoint != task.checkpoint_id:
            found = []
        newest[task.node] = task.checkpoint_id, [*found, _STATUSES[task.status]]
    statuses = {node: min(found, key=_FIRST.index) for node, (_, found) in newest.items()}
    if run.started_at is not None:
        statuses[START] = "done"
    if run.status == "succeeded":
        statuses[END] = "done"
    return statuses
