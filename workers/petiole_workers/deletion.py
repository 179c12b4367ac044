"""Deleting a thread with what is kept for it beside the ledger."""

from __future__ import annotations

from petiole_stores.store import Store
from petiole_workers.signals import forget_signals


def delete_thread(store: Store, thread_id: str) -> bool:
    """Remove the thread and its signals; ``False``: a run of it is active, nothing is done."""
    if not store.delete_thread(thread_id):
        return False
    forget_signals(store, thread_id)
    return True
