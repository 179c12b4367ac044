"""A thread's states as LangGraph shows them, changed by hand, and its checkpoints kept by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petiole.client.comparing import Difference, differences
from petiole.client.reading import Reading
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import InputError, NotFoundError
from petiole_workers.documents import Documents
from petiole_workers.saving import save_by_hand
from petiole_workers.snapshot import StateSnapshot, state_config
from petiole_workers.states import States
from petiole_workers.updating import Amended, StateUpdate, Updating

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph


class Snapshots(Reading):
    """Looks at states and changes them.

    ``graph`` is the thread's graph, compiled or as ``module:attribute``; without, it is the one of that name among the
    client's ``graphs``, those submitted by it and the settings'. It is needed, for its reducers and routers run here.
    """

    # ---------------------------------------------------------------- states

    def get_state(
        self,
        thread_id: str,
        *,
        checkpoint: str | None = None,
        ns: str = "",
        subgraphs: bool = False,
        graph: CompiledGraph | str | None = None,
    ) -> StateSnapshot:
        """The thread's newest state, or the one of a checkpoint; ``values``, ``next``, ``tasks``, ``interrupts`` and more.

        ``ns`` is the namespace of a node that is a graph. ``subgraphs``: the tasks of such nodes have their states, at any
        depth. Raises NotFoundError, ConfigurationError without the graph.
        """
        self._check_known(thread_id)
        config = state_config(thread_id, ns, checkpoint)
        states = self._states(thread_id, graph)
        try:
            return self.typed(lambda: states.get(config, subgraphs=subgraphs))
        except InputError as error:
            raise NotFoundError(f"{error}: `petiole run history {thread_id}` lists them") from None

    def state_history(
        self,
        thread_id: str,
        *,
        ns: str = "",
        filter: Mapping[str, Any] | None = None,
        before: str | None = None,
        limit: int | None = None,
        graph: CompiledGraph | str | None = None,
    ) -> Iterator[StateSnapshot]:
        """The thread's states, newest first.

        Parameters
            filter  metadata that a state must have (``{"source": "update"}``)
            before  a checkpoint's id: only older ones are given
            limit   at most so many

        Raises NotFoundError, ConfigurationError without the graph.
        """
        self._check_known(thread_id)
        bound = None if before is None else state_config(thread_id, ns, before)
        states = self._states(thread_id, graph)
        return states.history(state_config(thread_id, ns, None), filter=filter, before=bound, limit=limit)

    def update_state(
        self,
        thread_id: str,
        values: Any,
        *,
        as_node: str | None = None,
        checkpoint: str | None = None,
        ns: str = "",
        graph: CompiledGraph | str | None = None,
    ) -> dict[str, Any]:
        """Change a thread's state as if the node ``as_node`` had written ``values``; gives the new state's config.

        What would follow from that node comes next, in place of what came next before: a run that is interrupted or paused
        goes on from there once it is resumed; else :meth:`fork` or :meth:`resume` starts one. With ``checkpoint`` the thread
        goes on from that one. Without ``as_node`` it is the node that wrote last, if that is clear.

        Raises InvalidUpdateError for what no node could have written, ThreadBusyError while a run is at work on the thread,
        NotFoundError, ConfigurationError without the graph, and what reducers and routers raise.
        """
        updates = [[StateUpdate(values, as_node)]]
        return self.bulk_update_state(thread_id, updates, checkpoint=checkpoint, ns=ns, graph=graph)

    def bulk_update_state(
        self,
        thread_id: str,
        supersteps: Sequence[Sequence[tuple[Any, ...]]],
        *,
        checkpoint: str | None = None,
        ns: str = "",
        graph: CompiledGraph | str | None = None,
    ) -> dict[str, Any]:
        """Several updates, those of one superstep side by side, and one checkpoint a superstep: all of them, or none.

        Each is a tuple ``(values, as_node)``. Raises as :meth:`update_state`.
        """
        given = [[StateUpdate(*update) for update in updates] for updates in supersteps]
        amended = self._update(thread_id, given, checkpoint=checkpoint, ns=ns, graph=graph)
        return state_config(thread_id, ns, amended.checkpoint_id)

    def diff(self, before: str, after: str) -> list[Difference]:
        """What is different between two states, each named by its checkpoint, or by a thread (its newest) or a run (its last).

        Raises NotFoundError.
        """
        first, second = self.named_checkpoint(before), self.named_checkpoint(after)
        return differences(first.state, second.state)

    def named_checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of this id, else the newest of the thread of this id, else the last of the run. Raises NotFoundError."""
        record = self.store.get_checkpoint(name) or self.store.head(name)
        if record is not None:
            return self.load_checkpoint(record.checkpoint_id)
        run = self.get_run(name)
        if run.checkpoint_id is None:
            raise NotFoundError(f"run {run.run_id} of thread {run.thread_id!r} has no checkpoint yet")
        return self.load_checkpoint(run.checkpoint_id)

    # ---------------------------------------------------------------- checkpoints

    def save_checkpoint(
        self,
        thread_id: str,
        state: Mapping[str, Any],
        *,
        next: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        graph: CompiledGraph | str | None = None,
    ) -> str:
        """Keep a state made by hand as the thread's newest checkpoint and give its id; no reducer or router is asked.

        ``next`` names the nodes that a run from there begins with. Raises InvalidUpdateError for a key that the graph's
        state does not have, InputError for a node that it does not have, ThreadBusyError while a run is active.
        """
        found = self._graph(thread_id, graph)
        return save_by_hand(self.store, found.definition, thread_id, state, next=next, metadata=metadata)

    def list_checkpoints(
        self, thread_id: str, *, ns: str | None = "", limit: int | None = None
    ) -> list[Checkpoint]:
        """A thread's checkpoints, newest first; ``ns=None``: of all its subgraphs, too."""
        return self.typed(lambda: self.store.list(thread_id, ns=ns, limit=limit))

    def load_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """One checkpoint. Raises NotFoundError, CorruptionError."""
        return self.typed(lambda: self.store.load(checkpoint_id))

    def delete_checkpoint(self, checkpoint_id: str) -> None:
        """Remove one checkpoint; of a thread's newest one its parent takes the place. Raises ConflictError while a run is
        active."""
        self.store.delete(checkpoint_id)

    def clear_checkpoints(self, thread_id: str) -> None:
        """Remove a thread's checkpoints; its runs stay on record. Raises ConflictError while a run is active."""
        self.store.clear(thread_id)

    # ---------------------------------------------------------------- parts

    def _update(
        self,
        thread_id: str,
        supersteps: Sequence[Sequence[StateUpdate]],
        *,
        checkpoint: str | None = None,
        ns: str = "",
        graph: CompiledGraph | str | None = None,
    ) -> Amended:
        updating = self._updating(thread_id, graph)
        amended = self.typed(lambda: updating.update(thread_id, supersteps, ns=ns, checkpoint_id=checkpoint))
        self.publish(amended.publish)
        return amended

    def _updating(self, thread_id: str, graph: CompiledGraph | str | None) -> Updating:
        return Updating(self._graph(thread_id, graph), Documents(self.store), queue=self.settings.queue)

    def _states(self, thread_id: str, graph: CompiledGraph | str | None) -> States:
        return States(self._graph(thread_id, graph), Documents(self.store), queue=self.settings.queue)

    def _graph(self, thread_id: str, given: CompiledGraph | str | None) -> CompiledGraph:
        run = self.store.newest_run(thread_id)
        return self.graph_of(run.graph if run else None, given)

    def _check_known(self, thread_id: str) -> None:
        if self.store.head(thread_id) is None:
            self.get_run(thread_id)
