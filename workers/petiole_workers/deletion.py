"""Deleting a thread with what is kept for it beside the ledger."""

from __future__ import annotations

from typing import Final

from petiole_stores.items import Namespace
from petiole_stores.store import Store
from petiole_workers.signals import forget_signals
from petiole_workers.stepping import steps_of

#: The labels before a thread's id in the namespaces of what ``petiole.langgraph`` keeps for threads of LangGraph's.
LANGGRAPH_WRITES: Final = ("petiole", "langgraph-writes")
_PAGE = 1000


def delete_thread(store: Store, thread_id: str) -> bool:
    """Remove the thread and its items; ``False``: a run of it is active, nothing is done."""
    if not store.delete_thread(thread_id):
        return False
    forget_items(store, thread_id)
    return True


def forget_items(store: Store, thread_id: str) -> None:
    """Remove the items of a thread that is being removed: signals, results of steps, pending writes of LangGraph's graphs."""
    forget_signals(store, thread_id)
    remove_below(store, steps_of(thread_id))
    remove_below(store, (*LANGGRAPH_WRITES, thread_id))


def remove_below(store: Store, prefix: Namespace) -> None:
    """Remove all items whose namespace begins so."""
    while store.remove_items(prefix, limit=_PAGE) == _PAGE:
        pass
