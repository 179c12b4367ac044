"""The workers that the store knows, asked who lives and who serves what."""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.records import Run, Task, Worker
from petiole_workers.fitting import Wanted, misfit


class Roster:
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


def unfitness(worker: Worker, run: Run, task: Task) -> str | None:
    """Why the worker runs no such task of this run, in the words of its log; ``None``: it does."""
    if not worker.offers and run.graph in worker.graphs:  # one that says no more than its graphs' names
        return None
    return misfit(worker.offers, Wanted(run.graph, run.version, task.node))
