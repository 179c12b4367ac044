"""Listeners: code of the author's that is told how runs of a graph go, in process and on workers alike.

Give them to ``compile(listeners=[...])``. A listener is any object with some of the methods of `Listener`. They are called in
the process (and thread) that does the work, one after the other, and hold it up as long as they take. What one raises is
logged and goes no further. Like a node's side effects they may see an event twice: after a crash between commit and call, not
at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

logger = logging.getLogger("petiole.listener")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEvent:
    """Something about one try at a node.

    attempt: 1 for the first try.
    step: the superstep that it is of, counted as checkpoints count.
    """

    graph: str
    thread_id: str
    run_id: str
    task_id: str
    node: str
    attempt: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEndEvent(NodeEvent):
    """A node's output is committed.

    seconds: how long its attempt took on this worker.
    writes: pairs of state key and value, as the node gave them.
    handled: its error handler gave them.
    """

    seconds: float
    writes: tuple[tuple[str, object], ...] = ()
    handled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeErrorEvent(NodeEvent):
    """A try has failed.

    will_retry: another one follows, here or on another worker; if not, its error handler may still be called.
    """

    error: BaseException
    will_retry: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointEvent:
    """A checkpoint is committed.

    next: the nodes that come next, in the order of their tasks; none at the end of a run.
    run_status: the run's with it: ``running``, ``interrupted`` or ``succeeded``.
    """

    graph: str
    thread_id: str
    run_id: str
    checkpoint_id: str
    step: int
    source: str
    next: tuple[str, ...]
    run_status: str


class Listener(Protocol):
    """What a listener may have; each method may be missing. Subclass it for the ones that do nothing."""

    def on_node_start(self, event: NodeEvent) -> None:
        """A try at a node begins."""

    def on_node_end(self, event: NodeEndEvent) -> None:
        """A node has ended well, and its output is committed."""

    def on_node_error(self, event: NodeErrorEvent) -> None:
        """A try at a node has failed."""

    def on_checkpoint(self, event: CheckpointEvent) -> None:
        """A superstep has ended, and its checkpoint is committed."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """A graph's listeners, called safely. False where there are none."""

    members: Sequence[Any] = ()
    _methods: Mapping[str, tuple[Any, ...]] = field(init=False, repr=False)

    NAMES = ("on_node_start", "on_node_end", "on_node_error", "on_checkpoint")

    def __post_init__(self) -> None:
        methods = {
            name: tuple(m for one in self.members if (m := getattr(one, name, None))) for name in self.NAMES
        }
        object.__setattr__(self, "_methods", methods)

    def __bool__(self) -> bool:
        return bool(self.members)

    def hears(self, name: str) -> bool:
        """Whether somebody is told of events of this name."""
        return bool(self._methods[name])

    def tell(self, name: str, event: object) -> None:
        """Calls the method of this name of each listener that has it."""
        for method in self._methods[name]:
            try:
                method(event)
            except Exception:
                logger.exception("the listener %r failed at %s", getattr(method, "__self__", method), event)
