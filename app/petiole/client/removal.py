"""Deleting a thread, with its runs cancelled first where that is asked for."""

from __future__ import annotations

from petiole_stores.errors import ThreadBusyError
from petiole_stores.store import Store
from petiole_workers.active import active_run, open_runs
from petiole_workers.children import cancel_children
from petiole_workers.deletion import delete_thread, forget_items

#: How often to try again when somebody submits to a thread that is being deleted.
TRIES = 10


def remove_thread(store: Store, thread_id: str, *, force: bool) -> bool:
    """Remove the thread; ``False``: there was none. Raises ThreadBusyError while a run of it is active."""
    if store.newest_run(thread_id) is None and store.head(thread_id) is None:
        forget_items(store, thread_id)  # it may have got some before its first run
        return False
    for _ in range(TRIES):
        if delete_thread(store, thread_id):
            return True
        if not force:
            break
        # Those behind the active run first, so that none of them starts when it ends.
        doomed = [*reversed(open_runs(store, thread_id))]
        store.cancel([run.run_id for run in doomed], reason="its thread is deleted")
        for run in doomed:
            cancel_children(store, run, "its thread is deleted")
    busy = active_run(store, thread_id)
    which = f"run {busy.run_id}, which is {busy.status}" if busy else "a run"
    raise ThreadBusyError(
        f"thread {thread_id!r} has an active run ({which}): cancel it, or delete with force=True (--force), which does so"
    )
