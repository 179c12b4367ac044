"""Checkpoints kept by hand: a state held against the graph that is to go on from it, and what a graph's store has of a thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import ConfigurationError, InputError, InvalidUpdateError, ThreadBusyError
from petiole_stores.ledger import Ledger
from petiole_stores.records import SETTLED, RunFilter, RunStatus
from petiole_stores.serde import Serde
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.states import place_of

_OPEN: list[str] = [status for status in get_args(RunStatus) if status not in SETTLED]


def save_by_hand(
    store: CheckpointStore,
    graph: GraphDefinition,
    thread_id: str,
    state: Mapping[str, Any],
    *,
    next: Iterable[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """Keep a state as the thread's newest checkpoint and give its id; no reducer or router is asked.

    ``next`` names the nodes that a run from there begins with. Raises InvalidUpdateError for a key that the graph's state does
    not have, InputError for a node that it does not have, ThreadBusyError while a run is active.
    """
    planned = tuple(next)
    for key in state:
        if key not in graph.channels:
            raise InvalidUpdateError(
                f"the state of graph {graph.name!r} has no key {key!r}: it has {', '.join(map(repr, graph.channels))}"
            )
    for name in planned:
        if name not in graph.nodes:
            raise InputError(
                f"graph {graph.name!r} has no node {name!r}: it has {', '.join(map(repr, graph.nodes))}"
            )
    parent_id, step = _place(store, thread_id)
    return store.save(
        Checkpoint(
            thread_id=thread_id,
            state=state,
            parent_id=parent_id,
            step=step,
            source="update",
            next=planned,
            metadata=metadata or {},
        )
    )


def _place(store: CheckpointStore, thread_id: str) -> tuple[str | None, int]:
    """The parent and step of a checkpoint that is to be the thread's newest."""
    if not isinstance(store, Ledger):
        newest = store.list(thread_id)[:1]
        return (newest[0].id, newest[0].step + 1) if newest else (None, 0)
    busy = store.list_runs(RunFilter(thread_id=thread_id, status=_OPEN, limit=1)).runs
    if busy:
        raise ThreadBusyError(
            f"thread {thread_id!r} has run {busy[0].run_id}, which is {busy[0].status}: a checkpoint saved now would not be its "
            "newest one; update_state changes the state of an interrupted or paused run"
        )
    head = store.head(thread_id)
    return (head.checkpoint_id, head.step + 1) if head else (None, 0)


class Keeping:
    """What a compiled graph keeps by hand in its checkpointer."""

    name: str
    definition: GraphDefinition

    @property
    def checkpointer(self) -> CheckpointStore | None:
        """The store that ``invoke`` keeps threads in."""
        raise NotImplementedError

    def register_types(self, serde: Serde) -> None:
        """Let a store's serde bring back every class that the state's annotations reach."""
        raise NotImplementedError

    def save_checkpoint(
        self,
        config: Mapping[str, Any],
        state: Mapping[str, Any],
        *,
        next: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Keep a state made by hand as the thread's newest checkpoint and give its id; no reducer or router is asked.

        ``next`` names the nodes that ``invoke(None, config)`` begins with. Raises InvalidUpdateError for a key that the state
        does not have, InputError for a node that the graph does not have, ThreadBusyError while a run is active.
        """
        store, (thread_id, _, _) = self._kept(), place_of(config)
        return save_by_hand(store, self.definition, thread_id, state, next=next, metadata=metadata)

    def list_checkpoints(self, config: Mapping[str, Any]) -> list[Checkpoint]:
        """The thread's checkpoints, newest first."""
        return self._kept().list(place_of(config)[0])

    def load_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """One checkpoint. Raises NotFoundError, CorruptionError."""
        return self._kept().load(checkpoint_id)

    def clear_checkpoints(self, config: Mapping[str, Any]) -> None:
        """Remove the thread's checkpoints; its runs stay on record. Raises ConflictError while a run is active."""
        self._kept().clear(place_of(config)[0])

    def _kept(self) -> CheckpointStore:
        store = self.checkpointer
        if store is None:
            raise ConfigurationError(
                f"graph {self.name!r} was compiled without a checkpointer: it keeps no checkpoints"
            )
        if store.serde is not None:
            self.register_types(store.serde)
        return store
