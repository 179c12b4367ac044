"""Which worker may run which task: graphs, their versions and their nodes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from petiole_stores.records import ADVANCE_PATH, ENDED, Offer, Run, Task, Worker
from petiole_stores.store import Store
from petiole_workers.graph import START

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

#: Tasks of the engine's own, which every worker that serves the graph can run.
ENGINE = frozenset({START, ADVANCE_PATH})
#: For how long a look at the fleet is good, in seconds.
FRESH = 2.0


class Wanted(NamedTuple):
    """What a task asks of its worker."""

    graph: str
    version: str | None
    node: str

    def __str__(self) -> str:
        version = f" in version {self.version!r}" if self.version is not None else ""
        return f"node {self.node!r} of graph {self.graph!r}{version}"


def offer_of(graph: CompiledGraph) -> Offer:
    """A graph as a worker offers it."""
    definition = graph.definition
    return Offer(
        version=definition.version,
        fingerprint=definition.fingerprint,
        policy=definition.versions,
        nodes=list(dict.fromkeys(name for graph in definition.family() for name in graph.nodes)),
    )


def misfit(offers: Mapping[str, Offer], wanted: Wanted) -> str | None:
    """Why somebody with these offers cannot run a task; ``None``: it can."""
    offer = offers.get(wanted.graph)
    if offer is None:
        return f"graph {wanted.graph!r} is not served"
    if offer.policy == "pin" and wanted.version not in (None, offer.version):
        return (
            f"graph {wanted.graph!r} is served in version {offer.version!r} alone, not in {wanted.version!r}"
        )
    if wanted.node not in offer.nodes and wanted.node not in ENGINE:
        return f"graph {wanted.graph!r} has no node {wanted.node!r} in the version served ({offer.version or offer.fingerprint[:12]})"
    return None


def pending(run: Run, tasks: Iterable[Task]) -> list[Wanted]:
    """What the open tasks of a run ask for."""
    return [
        Wanted(run.graph, run.version, task.node)
        for task in tasks
        if (task.status not in ENDED or task.status == "interrupted") and not task.replaced
    ]


class Fleet:
    """The living workers, looked at once in a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = float("-inf")
        self._workers: list[Worker] = []

    @property
    def alive(self) -> list[Worker]:
        """The workers that are alive, newest first."""
        if time.monotonic() - self._seen > FRESH:
            self._workers = [worker for worker in self._store.list_workers() if worker.status == "alive"]
            self._seen = time.monotonic()
        return self._workers

    def serves(self, wanted: Iterable[Wanted]) -> bool:
        """Whether each of these has a worker that can run it."""
        return all(any(misfit(worker.offers, one) is None for worker in self.alive) for one in wanted)

    def offer(self, graph: str, version: str | None = None) -> Offer | None:
        """The newest worker's offer of a graph; with ``version``, the newest of that one."""
        offers = (worker.offers.get(graph) for worker in self.alive)
        return next((it for it in offers if it is not None and version in (None, it.version)), None)


def pinned_queue(queue: str, version: str) -> str:
    """The queue of a pinned version, whose workers alone consume it."""
    return f"{queue}@{re.sub(r'[^A-Za-z0-9_.-]', '_', version)}"


def queue_of(offer: Offer | None, queue: str) -> str:
    """Where the tasks of an offered graph wait that would else wait in ``queue``."""
    if offer is None or offer.policy != "pin" or offer.version is None:
        return queue
    return pinned_queue(queue, offer.version)
