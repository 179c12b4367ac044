"""What the ledger says of runs, queues and workers, read when somebody asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from petiole.client import Client
from petiole_stores.errors import PetioleError
from petiole_stores.records import Worker

#: For how long what was read is given again, in seconds: counting runs costs the store something.
FRESH = 5.0
WORKER_STATUSES: tuple[str, ...] = ("alive", "stopping", "dead", "stopped")
#: What a worker counts, by its name in a beat, and the word for it.
TASK_COUNTS = {
    "committed": "committed",
    "refused": "fenced",
    "failed": "failed",
    "retried": "retried",
    "parked": "parked",
    "spooled": "spooled",
}


class LedgerMetrics(Collector):
    """The figures of one client's store. May be asked by several threads: one reads, the others get the same.

    A store that cannot be read has ``petiole_store_up 0`` and no other figures, so that whoever collects them learns that.
    """

    def __init__(self, client: Client, *, fresh: float = FRESH) -> None:
        self._client, self._fresh = client, fresh
        self._lock = threading.Lock()
        self._known: tuple[float, list[Metric]] = (-fresh, [])

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that being registered reads nothing."""
        return []

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            at, known = self._known
            if not known or time.monotonic() - at >= self._fresh:
                known = self._read()
                self._known = time.monotonic(), known
            return known

    def _read(self) -> list[Metric]:
        up = GaugeMetricFamily("petiole_store_up", "Whether the store could be read.")
        try:
            found = [self._runs(), *self._queues(), *self._workers()]
        except PetioleError:
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *found]

    def _runs(self) -> Metric:
        runs = GaugeMetricFamily("petiole_runs", "Runs on record.", labels=["status"])
        for status, count in self._client.count_runs().items():
            runs.add_metric([status], count)
        return runs

    def _queues(self) -> Iterator[Metric]:
        labels = ["queue", "priority"]
        ready = GaugeMetricFamily("petiole_queue_tasks", "Tasks that wait to be claimed.", labels=labels)
        due = GaugeMetricFamily(
            "petiole_queue_due_tasks", "Of those, the ones whose message is overdue.", labels=labels
        )
        oldest = GaugeMetricFamily(
            "petiole_queue_oldest_seconds", "Age of the oldest task that waits to be claimed.", labels=labels
        )
        now = self._client.now()
        for backlog in self._client.backlogs():
            where = [backlog.queue, backlog.priority]
            ready.add_metric(where, backlog.ready)
            due.add_metric(where, backlog.due)
            oldest.add_metric(where, 0.0 if backlog.oldest is None else max(0.0, now - backlog.oldest))
        yield from (ready, due, oldest)

    def _workers(self) -> Iterator[Metric]:
        workers = self._client.workers()
        by_status = GaugeMetricFamily("petiole_workers", "Workers on record.", labels=["status"])
        for status in WORKER_STATUSES:
            by_status.add_metric([status], sum(worker.status == status for worker in workers))
        yield by_status
        slots = GaugeMetricFamily(
            "petiole_worker_slots", "Slots of a living worker: all, busy, and lost to a node that cannot be ended.",
            labels=["worker", "state"],
        )  # fmt: skip
        tasks = CounterMetricFamily(
            "petiole_worker_tasks", "Attempts of a worker, by how they ended.", labels=["worker", "outcome"]
        )
        for worker in _newest(workers):
            if worker.status in ("alive", "stopping"):
                slots.add_metric([worker.name, "all"], worker.concurrency)
                slots.add_metric([worker.name, "busy"], worker.stats.get("busy", 0))
                slots.add_metric([worker.name, "lost"], worker.stats.get("lost_slots", 0))
            for name, outcome in TASK_COUNTS.items():
                tasks.add_metric([worker.name, outcome], worker.stats.get(name, 0))
        yield from (slots, tasks)


def _newest(workers: Iterable[Worker]) -> list[Worker]:
    """The newest incarnation of each name: its counters begin anew, as those of a process do."""
    found: dict[str, Worker] = {}
    for worker in sorted(workers, key=lambda one: one.started_at):
        found[worker.name] = worker
    return [*found.values()]
