"""The workers that the store knows, asked who lives and who serves what."""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.records import Run, Task, Worker


class Fleet:
    """The workers as they were at ``now`` (store time)."""

    def __init__(self, workers: Sequence[Worker], now: float) -> None:
        self._known = {worker.worker_id: worker for worker in workers}
        self.now = now
        #: Those that take tasks: a stopping one only finishes what it has.
        self.alive = [worker for worker in workers if worker.status == "alive" and worker.expires_at > now]

    def holder(self, task: Task) -> Worker | None:
        """The worker that holds the task's claim, if the store still remembers it."""
        return self._known.get(task.holder or "")

    def keeps(self, task: Task) -> bool:
        """Whether the task's holder lives, so that nobody may take it over."""
        holder = self.holder(task)
        return holder is not None and holder.status in ("alive", "stopping") and holder.expires_at > self.now

    def consumers(self, queue: str) -> list[Worker]:
        return [worker for worker in self.alive if queue in worker.queues]

    def queues(self) -> list[str]:
        """The queues that living workers consume."""
        return sorted({queue for worker in self.alive for queue in worker.queues})


def serves(worker: Worker, run: Run, task: Task) -> bool:
    """Whether the worker runs tasks of this run: it has the graph, at a fitting version, with the task's node."""
    offer = worker.offers.get(run.graph)
    if offer is None:
        return run.graph in worker.graphs
    if offer.policy == "pin" and run.version is not None and offer.version != run.version:
        return False
    return task.kind == "advance" or not offer.nodes or task.node in offer.nodes
