"""States and checkpoints over a server's API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from petiole.client.comparing import Difference
from petiole.client.handle import RunHandle
from petiole.client.history import HistoryEntry
from petiole.remote import decoding
from petiole.remote.connected import PAGE, RemoteConnection, part
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import InputError, NotFoundError
from petiole_workers.graph import MISSING
from petiole_workers.snapshot import StateSnapshot, state_config
from petiole_workers.updating import StateUpdate

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

T = TypeVar("T")


class RemoteStates(RemoteConnection):
    """As :class:`petiole.client.snapshots.Snapshots`. Where a graph is needed, it is the server that needs it: ``graph`` names
    it there."""

    # ---------------------------------------------------------------- looking

    def state(self, thread_id: str, *, checkpoint: str | None = None) -> dict[str, Any]:
        found = self.transport.get(f"/threads/{part(thread_id)}/state", {"checkpoint": checkpoint})
        return cast(dict[str, Any], self._read(found["values"]))

    def history(
        self, thread_id: str, *, run: str | None = None, limit: int | None = None, subgraphs: bool = False
    ) -> list[HistoryEntry]:
        path = f"/threads/{part(thread_id)}/history"
        size = PAGE if limit is None or run is not None else max(1, min(limit, PAGE))
        entries = self._pages(
            path,
            {"limit": size, "subgraphs": subgraphs},
            lambda one: decoding.entry_of(thread_id, one, self._read),
            name="before",
        )
        found = [*islice(entries if run is None else decoding.entries_of_run(entries, run), limit)]
        if not found:
            self.get_run(run or thread_id)
        return found

    def get_state(
        self,
        thread_id: str,
        *,
        checkpoint: str | None = None,
        ns: str = "",
        subgraphs: bool = False,
        graph: CompiledGraph | str | None = None,
    ) -> StateSnapshot:
        found = self.transport.get(
            f"/threads/{part(thread_id)}/snapshot",
            {"checkpoint": checkpoint, "ns": ns, "subgraphs": subgraphs, "graph": self._named(graph)},
        )
        return decoding.snapshot_of(found, self._read)

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
        size = PAGE if limit is None or filter else max(1, min(limit, PAGE))
        found = self._pages(
            f"/threads/{part(thread_id)}/snapshots",
            {"ns": ns, "before": before, "limit": size, "graph": self._named(graph)},
            lambda one: decoding.snapshot_of(one, self._read),
            name="before",
        )
        wanted = (filter or {}).items()
        return islice(
            (one for one in found if all((one.metadata or {}).get(key) == value for key, value in wanted)),
            limit,
        )

    def diff(self, before: str, after: str) -> list[Difference]:
        found = self.transport.get("/runs/diff", {"a": before, "b": after})
        return [decoding.difference_of(one) for one in found["items"]]

    def named_checkpoint(self, name: str) -> Checkpoint:
        try:
            return self.load_checkpoint(name)
        except NotFoundError:
            pass
        try:
            [newest] = self.list_checkpoints(name, limit=1)
        except (NotFoundError, ValueError):
            run = self.get_run(name)
        else:
            return newest
        if run.checkpoint_id is None:
            raise NotFoundError(f"run {run.run_id} of thread {run.thread_id!r} has no checkpoint yet")
        return self.load_checkpoint(run.checkpoint_id)

    def list_checkpoints(
        self, thread_id: str, *, ns: str | None = "", limit: int | None = None
    ) -> list[Checkpoint]:
        params = {
            "ns": ns or "",
            "subgraphs": ns is None,
            "limit": PAGE if limit is None else max(1, min(limit, PAGE)),
        }
        found = self._pages(
            f"/threads/{part(thread_id)}/checkpoints",
            params,
            lambda one: decoding.checkpoint_of(one, self._read),
            name="before",
        )
        try:
            return [*islice(found, limit)]
        except NotFoundError:  # a thread that is not there has none
            return []

    def load_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        return decoding.checkpoint_of(self.transport.get(f"/checkpoints/{part(checkpoint_id)}"), self._read)

    # ---------------------------------------------------------------- changing

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
        given = [[StateUpdate(*update) for update in updates] for updates in supersteps]
        if not given or not all(given):
            raise ValueError("no updates were given: give at least one a superstep")
        body = {
            "supersteps": [
                [{"values": self._write(one.values), "as_node": one.as_node} for one in updates]
                for updates in given
            ],
            "checkpoint": checkpoint,
            "ns": ns,
        }
        found = self._of_graph(
            graph,
            lambda name: self.transport.post(f"/threads/{part(thread_id)}/state", body | {"graph": name}),
        )
        return state_config(thread_id, ns, found["checkpoint_id"])

    def save_checkpoint(
        self,
        thread_id: str,
        state: Mapping[str, Any],
        *,
        next: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
        graph: CompiledGraph | str | None = None,
    ) -> str:
        if isinstance(next, str):
            raise InputError(f"next is the string {next!r}: write ({next!r},)")
        body = {
            "state": self._write(dict(state)),
            "next": list(next),
            "metadata": None if metadata is None else self._write(dict(metadata)),
            "graph": self._named(graph),
        }
        saved = self.transport.post(f"/threads/{part(thread_id)}/checkpoints", body)
        return str(saved["checkpoint_id"])

    def delete_checkpoint(self, checkpoint_id: str) -> None:
        self._unless_gone(lambda: self.transport.delete(f"/checkpoints/{part(checkpoint_id)}"))

    def clear_checkpoints(self, thread_id: str) -> None:
        path = f"/threads/{part(thread_id)}/checkpoints/clear"
        self._unless_gone(lambda: self.transport.post(path, again=True))

    def fork(
        self,
        thread_id: str,
        checkpoint: str,
        values: Any = MISSING,
        as_node: str | None = None,
        *,
        graph: CompiledGraph | str | None = None,
    ) -> RunHandle:
        body: dict[str, Any] = {"checkpoint_id": checkpoint, "as_node": as_node, "graph": self._named(graph)}
        if values is not MISSING:
            body["values"] = self._write(values)
        made = self.transport.post(f"/threads/{part(thread_id)}/fork", body)
        return RunHandle(self, made["thread_id"], made["run_id"])

    # ---------------------------------------------------------------- within

    def _of_graph(self, graph: CompiledGraph | str | None, ask: Callable[[str | None], T]) -> T:
        """Ask with the name of the graph; for a thread that is not there yet, with that of the one graph that is known here."""
        try:
            return ask(self._named(graph))
        except NotFoundError:
            if graph is not None or len(self._known_graphs) != 1:
                raise
            return ask(next(iter(self._known_graphs)))

    @staticmethod
    def _unless_gone(ask: Callable[[], object]) -> None:
        try:
            ask()
        except NotFoundError:
            pass
