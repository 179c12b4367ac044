"""What a principal sees: runs and threads of others do not exist for him."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path

from petiole.access.seeing import is_thread_seen
from petiole.api.access import Principal
from petiole.client import Client
from petiole_stores.checks import check_id
from petiole_stores.errors import InputError, NotFoundError
from petiole_stores.records import Run, RunFilter
from petiole_workers.compiled import CompiledGraph

RunPath = Annotated[
    str, Path(description="A run's id, or a thread's, whose newest run is meant.", examples=["order-7"])
]
ThreadPath = Annotated[
    str, Path(description="A thread's id; a slash in it may stand as it is.", examples=["order-7"])
]


def run_seen(client: Client, principal: Principal, run_id: str) -> Run:
    """The run. Raises NotFoundError for one that is not there, or not his to see."""
    check_id("run_id", run_id)
    try:
        run = client.get_run(run_id)
    except NotFoundError:
        run = None
    if run is None or not principal.sees(graph=run.graph, thread_id=run.thread_id):
        raise NotFoundError(f"run {run_id!r} does not exist: GET /api/v1/runs lists those that do")
    return run


def thread_seen(client: Client, principal: Principal, thread_id: str) -> None:
    """Raises NotFoundError for a thread that is not there, or has a run that is not his to see."""
    check_id("thread_id", thread_id)
    if not is_thread_seen(client.store, principal, thread_id):
        raise NotFoundError(f"thread {thread_id!r} does not exist: GET /api/v1/runs lists what does")


def check_thread_free(client: Client, principal: Principal, thread_id: str) -> None:
    """Raises NotFoundError for a thread that he may not begin, or may not go on with."""
    check_id("thread_id", thread_id)
    if not principal.sees(thread_id=thread_id):
        raise NotFoundError(
            f"thread {thread_id!r} is in none of your namespaces: begin its id with one of "
            f"{', '.join(f'{name}:' for name in principal.namespaces)}"
        )
    if principal.graphs and client.store.newest_run(thread_id) is not None:
        thread_seen(client, principal, thread_id)


def graph_seen(principal: Principal, graph: str) -> None:
    """Raises NotFoundError for a graph that is not his to see."""
    check_id("graph", graph)
    if not principal.sees(graph=graph):
        raise NotFoundError(f"graph {graph!r} does not exist: GET /api/v1/graphs lists those that do")


def graph_given(client: Client, principal: Principal, name: str | None) -> CompiledGraph | None:
    """The graph itself that a request names. Raises NotFoundError for one that is not his to see, ConfigurationError where
    this server does not have it."""
    if name is None:
        return None
    graph_seen(principal, name)
    return client.graph_of(name)


def checkpoint_seen(client: Client, principal: Principal, thread_id: str, checkpoint_id: str) -> None:
    """Raises NotFoundError unless the checkpoint is one of this thread, and of a run that is his to see."""
    check_id("checkpoint", checkpoint_id)
    record = client.store.get_checkpoint(checkpoint_id)
    if record is not None and principal.graphs:
        run = client.store.get_run(record.run_id) if record.run_id else None
        if run is None or not principal.sees(graph=run.graph):
            record = None
    if record is None or record.thread_id != thread_id:
        raise NotFoundError(
            f"checkpoint {checkpoint_id!r} is not one of thread {thread_id!r}: its history lists those that are"
        )


def narrowed(
    principal: Principal, *, graphs: Sequence[str] = (), namespaces: Sequence[str] = (), **filter: Any
) -> RunFilter:
    """A filter of runs that finds those that he sees alone."""
    given = {name: value for name, value in filter.items() if value is not None}
    for name, own, asked in (
        ("graphs", principal.graphs, graphs),
        ("namespaces", principal.namespaces, namespaces),
    ):
        given[name] = [one for one in asked if one in own] if own and asked else [*own, *asked]
        if (own or asked) and not given[name]:
            given["until"] = 0.0  # he sees none of those that he asks for: nothing was submitted so early
    return RunFilter(**given)


def check_text(name: str, text: str | None) -> None:
    """Raise InputError for text that no store holds: with NUL or a lone surrogate."""
    if text is not None and ("\0" in text or (not text.isascii() and not _encodes(text))):
        raise InputError(f"{name} is {text[:40]!r}: it may hold neither NUL nor lone surrogates")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
