"""Which threads a principal sees as a whole."""

from __future__ import annotations

import msgspec

from petiole.access.principal import Principal
from petiole_stores.records import RunFilter
from petiole_stores.store import Store


def is_thread_seen(store: Store, principal: Principal, thread_id: str) -> bool:
    """Whether a thread is there and all its runs are his to see."""
    if not principal.sees(thread_id=thread_id):
        return False
    if not principal.graphs:
        return store.newest_run(thread_id) is not None or store.head(thread_id) is not None
    runs = RunFilter(thread_id=thread_id)
    own = msgspec.structs.replace(runs, graphs=list(principal.graphs))
    count = sum(store.count_runs(runs).values())
    return 0 < count == sum(store.count_runs(own).values())
