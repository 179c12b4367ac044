"""What a node may know of its execution."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Runtime:
    thread_id: str
    run_id: str
    task_id: str
    node: str
    attempt: int
    idempotency_key: str
    logger: logging.Logger
    is_cancelled: Callable[[], bool] = lambda: False

    @property
    def cancelled(self) -> bool:
        return self.is_cancelled()

    def again(self, more: int) -> Runtime:
        return replace(self, attempt=self.attempt + more)
