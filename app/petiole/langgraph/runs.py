"""Which threads have checkpoints of a run: an index, for ``metadata["run_id"]`` is nothing that stores search by."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from petiole_stores.items import MAX_LABEL, ItemStore, Namespace, NewItem

_ROOT = ("langgraph", "runs")
_PAGE = 1000


class RunIndex(NamedTuple):
    """The index in one store. A thread is entered before its checkpoint is: it may name too many, never too few."""

    store: ItemStore

    def enter(self, run_id: str, thread_id: str) -> None:
        """Note that the thread has checkpoints of the run."""
        self.store.put_items([NewItem(_namespace(run_id), thread_id, "true", if_absent=True)])

    def threads(self, run_id: str) -> list[str]:
        """The threads that may have checkpoints of the run."""
        found: list[str] = []
        while page := self.store.search_items(_namespace(run_id), limit=_PAGE, offset=len(found)):
            found += [item.key for item in page]
        return found

    def remove(self, run_id: str, thread_id: str) -> None:
        """Forget that the thread had checkpoints of the run."""
        self.store.put_items([NewItem(_namespace(run_id), thread_id, None)])


def _namespace(run_id: str) -> Namespace:
    fits = 0 < len(run_id) <= MAX_LABEL and run_id.isprintable()
    return (*_ROOT, run_id if fits else f"sha256:{hashlib.sha256(run_id.encode()).hexdigest()}")
