"""What a deployment of graphs would do to the threads that are on their way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from petiole_stores.records import Run, RunFilter
from petiole_stores.store import Store
from petiole_workers.compiled import CompiledGraph
from petiole_workers.fitting import misfit, pending

#: In these a run has something left to do.
UNDER_WAY = ("queued", "running", "waiting", "interrupted", "paused", "blocked")


class Blocked(msgspec.Struct, kw_only=True):
    """A run that nobody could go on with if these graphs alone were served."""

    thread_id: str
    run_id: str
    graph: str
    version: str | None
    status: str
    reasons: list[str]


def blocked_by(store: Store, graphs: Sequence[CompiledGraph]) -> Iterator[Blocked]:
    """The runs under way that a deployment of these graphs, in place of what is served now, would block."""
    offers = {graph.name: graph.offer for graph in graphs}
    for name in offers:
        for run in _under_way(store, name):
            found = (misfit(offers, wanted) for wanted in pending(run, store.list_tasks(run.run_id)))
            reasons = sorted({reason for reason in found if reason is not None})
            if reasons:
                yield Blocked(
                    thread_id=run.thread_id,
                    run_id=run.run_id,
                    graph=name,
                    version=run.version,
                    status=run.status,
                    reasons=reasons,
                )


def _under_way(store: Store, graph: str) -> Iterator[Run]:
    cursor: str | None = None
    while True:
        page = store.list_runs(RunFilter(graph=graph, status=list(UNDER_WAY), limit=500, cursor=cursor))
        yield from page.runs
        cursor = page.next
        if cursor is None:
            return
