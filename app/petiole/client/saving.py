"""A checkpoint made by hand, held against the graph that is to go on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from petiole.client.active import active_run
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import InputError, InvalidUpdateError, ThreadBusyError
from petiole_stores.store import Store

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph


def save_by_hand(
    store: Store,
    graph: CompiledGraph,
    thread_id: str,
    state: Mapping[str, Any],
    next: tuple[str, ...],
    metadata: dict[str, Any],
) -> str:
    """Save it as the thread's newest one and give its id; see :meth:`Client.save_checkpoint`."""
    channels, nodes = graph.definition.channels, graph.definition.nodes
    for key in state:
        if key not in channels:
            raise InvalidUpdateError(
                f"the state of graph {graph.name!r} has no key {key!r}: it has {', '.join(map(repr, channels))}"
            )
    for name in next:
        if name not in nodes:
            raise InputError(
                f"graph {graph.name!r} has no node {name!r}: it has {', '.join(map(repr, nodes))}"
            )
    if (busy := active_run(store, thread_id)) is not None:
        raise ThreadBusyError(
            f"thread {thread_id!r} has an active run, {busy.run_id}, which is {busy.status}: a checkpoint saved now would not "
            "be its newest one; update_state changes the state of an interrupted or paused run"
        )
    head = store.head(thread_id)
    return store.save(
        Checkpoint(
            thread_id=thread_id,
            state=state,
            parent_id=head.checkpoint_id if head else None,
            step=head.step + 1 if head else 0,
            source="update",
            next=next,
            metadata=metadata,
        )
    )
