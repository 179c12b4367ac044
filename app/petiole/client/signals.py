"""Signals as they are sent: kept first, then whoever waits for them is woken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petiole_stores.errors import IdempotencyError
from petiole_stores.ids import new_id
from petiole_stores.records import TaskRef
from petiole_stores.store import Store
from petiole_workers.signals import heard, put_signal


def send_signal(
    store: Store, thread_id: str, name: str, payload: Any, id: str | None
) -> tuple[str, Sequence[TaskRef]]:
    """Keep the signal and wake what waits for it; gives its id and what to publish.

    Should this process die in between, the next sweep wakes it; a signal that is sent again does so at once. Raises IdempotencyError for an
    id that was sent with another payload.
    """
    given = id if id is not None else new_id()
    if not put_signal(store, thread_id, name, store.serde.dump_whole(payload), given):
        heard(store, thread_id, name, given)
        raise IdempotencyError(
            f"signal {name!r} of thread {thread_id!r} was sent with id {given!r} and another payload: use a new id for a new "
            "signal"
        )
    woken = store.wake(thread_id, name)
    heard(store, thread_id, name, given)
    return given, woken
