"""What a node may know of the run it is part of."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from petiole_stores.errors import ConfigurationError


def _never() -> bool:
    return False


class NodeServices(Protocol):
    """What an engine does for a running node; see the methods of `Runtime`."""

    def pause(self, seconds: float) -> float:
        """How long the node has to wait here for its next timer; raises what parks the task where that is too long."""

    def heartbeat(self, details: object) -> None: ...

    def details(self) -> object: ...

    def transaction(self) -> AbstractContextManager[Any]: ...


class NoServices:
    """Outside an engine: timers are slept through, details are forgotten, there is no store."""

    def pause(self, seconds: float) -> float:
        return seconds

    def heartbeat(self, details: object) -> None:
        """Nothing keeps them."""

    def details(self) -> object:
        return None

    def transaction(self) -> AbstractContextManager[Any]:
        raise ConfigurationError(
            "runtime.transaction() needs a store with tables: run the graph on postgresql:// or sqlite://"
        )


@dataclass(frozen=True, slots=True)
class Runtime:
    """The second argument of a node or router that asks for one.

    thread_id, run_id, task_id: ids as strings; empty where there is none.
    node: the name of the node; for a router, the node that it routes from.
    attempt: 1 for the first try.
    idempotency_key: the same on every attempt at this task, for the services that a node calls.
    logger: a logger that names the task.
    is_cancelled: asked by `cancelled`.
    services: what the engine does for the node, by the methods below.
    store: long-term memory across threads, a `petiole_workers.long_term.LongTermMemory` or what ``compile(store=...)`` was
        given; ``None`` outside an engine.
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
    services: NodeServices = field(default_factory=NoServices, repr=False)
    store: Any = field(default=None, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether the work is no longer wanted: the run was cancelled, or this worker lost its claim."""
        return self.is_cancelled()

    def sleep(self, seconds: float) -> None:
        """Waits durably: a long wait leaves the worker and costs a row, and survives every crash.

        As with an interrupt, the node then runs again from its top, and the sleeps that it has been through return at
        once; so what comes before a sleep has to be harmless to repeat. Waits of up to ``in_process_wait`` (1 s) are
        slept through here. The n-th call of an attempt is the same timer in every attempt.
        """
        time.sleep(self.services.pause(_duration(seconds)))

    async def asleep(self, seconds: float) -> None:
        """As `sleep`, for async nodes."""
        import asyncio

        await asyncio.sleep(self.services.pause(_duration(seconds)))

    def heartbeat(self, details: Any = None) -> None:
        """Keeps ``details`` (anything that a state may hold, up to 1 MiB) for the next attempt, should this one not end.

        For long nodes: say how far you are, and begin there when `details` has something. Calls within 0.1 s of one
        another are kept together.
        """
        self.services.heartbeat(details)

    @property
    def details(self) -> Any:
        """What the last heartbeat of an earlier attempt said; ``None`` if there was none."""
        return self.services.details()

    def transaction(self) -> AbstractContextManager[Any]:
        """``with runtime.transaction() as connection``: change tables of your own in the transaction that commits this
        node's output: both happen, or neither.

        The connection is psycopg's on ``postgresql://``, sqlite3's on ``sqlite://``; neither commit it nor roll it back.
        It stays open until the node's output is committed, so use it late in the node and return soon: on SQLite
        nobody else can write meanwhile. Where the node fails, or has lost its claim, all of it is rolled back; so it is
        when the block is left by an exception. Raises ConfigurationError on other stores.
        """
        return self.services.transaction()

    @property
    def config(self) -> dict[str, object]:
        """The same ids in the shape of LangGraph's config, for functions that take ``(state, config)``."""
        return {
            "configurable": {"thread_id": self.thread_id, "run_id": self.run_id, "task_id": self.task_id},
            "metadata": {"node": self.node, "attempt": self.attempt},
        }


def _duration(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e11:
        raise ValueError(f"sleep was given {seconds!r}: give a number of seconds from 0")
    return float(seconds)
