"""What of the store a reader may see: his graphs, and his namespaces of threads."""

from __future__ import annotations

from petiole.access.seeing import is_thread_seen
from petiole.api.access import Principal
from petiole.client import Client
from petiole.client.run_query import RunQuery
from petiole_stores.errors import NotFoundError
from petiole_stores.records import Run


def limits(principal: Principal) -> RunQuery:
    """The part of a query of runs that keeps it to what somebody may see."""
    return {"graphs": principal.graphs, "namespaces": principal.namespaces}


def visible_run(client: Client, principal: Principal, run_or_thread: str) -> Run:
    """The run of this id, or a thread's newest. Raises NotFoundError, also for what is not his to see.

    A run's pages show its thread: to somebody who is limited to graphs all runs of the thread have to be of these.
    """
    run = client.get_run(run_or_thread)
    seen = principal.sees(graph=run.graph, thread_id=run.thread_id)
    if not seen or (principal.graphs and not is_thread_seen(client.store, principal, run.thread_id)):
        raise NotFoundError(f"neither a run nor a thread {run_or_thread!r} is known here")
    return run
