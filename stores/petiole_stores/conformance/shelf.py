"""What a check of a checkpoint store works with: the store, and threads and ids that no other check uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.contract import CheckpointStore
from petiole_stores.ids import new_id

_START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Shelf:
    """One check's part of a store; each checkpoint that it makes is a second younger than the one before."""

    def __init__(self, store: CheckpointStore) -> None:
        self.store = store
        self.prefix = new_id()[-12:]
        self.made = 0

    def thread(self, name: str = "t") -> str:
        return f"{self.prefix}-{name}"

    def new(self, thread: str = "t", **fields: Any) -> Checkpoint:
        self.made += 1
        values: dict[str, Any] = {
            "thread_id": self.thread(thread),
            "state": {"n": self.made},
            "timestamp": _START + timedelta(seconds=self.made),
        } | fields
        return Checkpoint(**values)

    def save(self, thread: str = "t", **fields: Any) -> Checkpoint:
        made = self.new(thread, **fields)
        self.store.save(made)
        return made

    def listed(self, thread: str = "t") -> list[str]:
        return [checkpoint.id for checkpoint in self.store.list(self.thread(thread))]
