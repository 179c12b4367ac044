"""Deleting a thread with what is kept for it beside the ledger."""

from __future__ import annotations

from petiole_stores.store import Store
from petiole_workers.signals import forget_signals
from petiole_workers.stepping import steps_of

_PAGE = 500


def delete_thread(store: Store, thread_id: str) -> bool:
    """Remove the thread, its signals and what is kept of its steps; ``False``: a run of it is active, nothing is done."""
    if not store.delete_thread(thread_id):
        return False
    forget_signals(store, thread_id)
    while store.remove_items(steps_of(thread_id), limit=_PAGE) == _PAGE:
        pass
    return True
