"""What a node may know of the run it is part of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Runtime:
    """The second argument of a node or router that asks for one.

    thread_id, run_id, task_id: ids as strings; empty where there is none.
    node: the name of the node; for a router, the node that it routes from.
    attempt: 1 for the first try.
    idempotency_key: the same on every attempt at this task, for the services that a node calls.
    logger: a logger that names the task.
    is_cancelled: asked by `cancelled`.
    """

    thread_id: str = ""
    run_id: str = ""
    task_id: str = ""
    node: str = ""
    attempt: int = 1
    idempotency_key: str = ""
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = field(
        default_factory=lambda: logging.getLogger("petiole.node")
    )
    is_cancelled: Callable[[], bool] = _never

    @property
    def cancelled(self) -> bool:
        """Whether the work is no longer wanted: the run was cancelled, or this worker lost its claim."""
        return self.is_cancelled()

    @property
    def config(self) -> dict[str, object]:
        """The same ids in the shape of LangGraph's config, for functions that take ``(state, config)``."""
        return {
            "configurable": {"thread_id": self.thread_id, "run_id": self.run_id, "task_id": self.task_id},
            "metadata": {"node": self.node, "attempt": self.attempt},
        }
