"""What may stand for a node's function: a Celery task, a run of another graph on a thread of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from petiole_workers.retry import RetryStrategy

#: Where Celery's tasks are made nodes: imported only where somebody adds one.
_CELERY_NODES = "petiole_workers.celery.nodes"


@dataclass(frozen=True, slots=True)
class NodeParts:
    """A node made of something else than a function of the state.

    function: takes ``(state, runtime)``.
    schema: what it reads of the state; ``None`` for all of it.
    retry_policies: its own; ``None`` if it says nothing of retries.
    timeout: seconds for one attempt; ``None`` for no limit.
    queue: where its tasks wait; ``None`` for the graph's queue.
    child: the compiled graph that it runs on threads of their own, for who serves the node to serve it, too.
    """

    function: Callable[[Any, Any], Any]
    schema: type[Any] | None = None
    retry_policies: tuple[RetryStrategy, ...] | None = None
    timeout: float | None = None
    queue: str | None = None
    child: Any = None


@runtime_checkable
class NodeSource(Protocol):
    """Something that can be made a node."""

    def node_parts(self, node: str, keys: Collection[str]) -> NodeParts:
        """The node ``node`` of a graph whose state has these keys. Raises GraphValidationError."""


def node_source(given: object) -> NodeSource | None:
    """What makes ``given`` a node in its own way; ``None`` for functions and graphs."""
    if isinstance(given, type):
        return None
    celery = sys.modules.get("celery.app.task")
    if celery is not None and isinstance(given, celery.Task):
        source: NodeSource = importlib.import_module(_CELERY_NODES).celery_node(given)
        return source
    return given if isinstance(given, NodeSource) else None
