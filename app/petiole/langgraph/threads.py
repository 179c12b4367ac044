"""LangGraph's threads in a Petiole store: finding, listing and removing their checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from petiole.langgraph.place import Place, langgraph_id
from petiole.langgraph.records import is_langgraphs
from petiole_stores.errors import ConflictError
from petiole_stores.records import Checkpointed
from petiole_stores.store import Store

_PAGE = 100


class Threads(NamedTuple):
    """The checkpoints that LangGraph has made, as rows of a store. Those of Petiole's own graphs are passed over."""

    store: Store

    def find(self, place: Place) -> Checkpointed | None:
        """The checkpoint of a place; the newest of its thread and namespace where the place names none."""
        if place.checkpoint_id is None:
            head = self.store.head(place.thread_id, place.ns)
            if head is None or is_langgraphs(head):
                return head
            return next(self.rows(place.thread_id, place.ns), None)
        found = self.store.get_checkpoint(place.stored_id)
        return found if found is not None and is_langgraphs(found) else None

    def rows(self, thread_id: str, ns: str | None, before: int | None = None) -> Iterator[Checkpointed]:
        """Checkpoints of a thread, newest first; of every namespace with ``ns=None``; below a ``seq`` with ``before``."""
        while True:
            page = self.store.list_checkpoints(thread_id, ns=ns, before=before, limit=_PAGE)
            yield from filter(is_langgraphs, page)
            if len(page) < _PAGE:
                return
            before = page[-1].seq

    def ancestors(self, record: Checkpointed) -> Iterator[Checkpointed]:
        """The parent of a checkpoint, the parent's parent and so on, as far as they are there."""
        near: dict[str, Checkpointed] = {}
        while (parent_id := record.parent_id) is not None:
            if parent_id not in near:
                page = self.store.list_checkpoints(
                    record.thread_id, ns=record.ns, before=record.seq, limit=_PAGE
                )
                near = {row.checkpoint_id: row for row in page}
            parent = near.get(parent_id) or self.store.get_checkpoint(parent_id)
            if parent is None or not is_langgraphs(parent):
                return
            yield parent
            record = parent

    def remove(self, record: Checkpointed) -> None:
        """Remove one checkpoint. Raises ConflictError while a run of Petiole's is active on the thread."""
        self.store.delete(record.checkpoint_id)

    def remove_thread(self, thread_id: str) -> None:
        """Remove a thread with all that Petiole keeps of it. Raises ConflictError as :meth:`remove` does."""
        if not self.store.delete_thread(thread_id):
            raise ConflictError(
                f"thread {thread_id!r} has an active run: cancel it before the thread is deleted"
            )

    def collect(self, thread_id: str) -> None:
        """Remove the values that no checkpoint of the thread names any more."""
        self.store.trim(thread_id, None)


def place_of(record: Checkpointed) -> Place:
    """Where a stored checkpoint stands for LangGraph."""
    return Place(record.thread_id, record.ns, langgraph_id(record.checkpoint_id))
