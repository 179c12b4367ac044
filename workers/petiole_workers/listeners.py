"""The listeners that come with Petiole: progress, logging and metrics."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from petiole_workers.listening import CheckpointEvent, Listener, NodeEndEvent, NodeErrorEvent, NodeEvent


class ProgressListener(Listener):
    """One line for each superstep: which nodes ended, and which come next.

    show: called with the line; ``print`` by default.
    """

    def __init__(self, show: Callable[[str], object] = print) -> None:
        self._show = show
        self._lock = threading.Lock()
        self._ended: dict[str, Counter[str]] = {}

    def on_node_end(self, event: NodeEndEvent) -> None:
        with self._lock:
            self._ended.setdefault(event.run_id, Counter())[event.node] += 1

    def on_checkpoint(self, event: CheckpointEvent) -> None:
        with self._lock:
            ended = self._ended.pop(event.run_id, Counter())
        done = ", ".join(f"{node} x{count}" if count > 1 else node for node, count in ended.items())
        after = ", ".join(dict.fromkeys(event.next)) or event.run_status
        self._show(f"{event.graph} {event.thread_id} step {event.step}: {done or event.source} -> {after}")


class LoggingListener(Listener):
    """A log record for each event, at ``level``; failed tries at ``warning`` above all.

    log: where they go; the logger ``petiole.graph`` by default.
    """

    def __init__(self, log: logging.Logger | None = None, level: int = logging.INFO) -> None:
        self._log = log or logging.getLogger("petiole.graph")
        self._level = level

    def on_node_start(self, event: NodeEvent) -> None:
        self._log.log(self._level, "%s: %s starts (attempt %d)", *_where(event), event.attempt)

    def on_node_end(self, event: NodeEndEvent) -> None:
        keys = ", ".join(dict.fromkeys(key for key, _ in event.writes)) or "nothing"
        self._log.log(self._level, "%s: %s wrote %s in %.3f s", *_where(event), keys, event.seconds)

    def on_node_error(self, event: NodeErrorEvent) -> None:
        then = "will be tried again" if event.will_retry else "failed"
        level = max(self._level, logging.WARNING)
        self._log.log(level, "%s: %s %s (attempt %d): %r", *_where(event), then, event.attempt, event.error)

    def on_checkpoint(self, event: CheckpointEvent) -> None:
        self._log.log(
            self._level, "%s of thread %s: step %d (%s), next: %s",
            event.graph, event.thread_id, event.step, event.source, ", ".join(event.next) or event.run_status,
        )  # fmt: skip


@dataclass
class NodeMetrics:
    """What one process has seen of one node."""

    started: int = 0
    ended: int = 0
    failed: int = 0
    retried: int = 0
    seconds: float = 0.0  #: of the attempts that ended well


@dataclass
class MetricsListener(Listener):
    """Counts by graph and node, of this process; read them with `snapshot` and hand them to what collects metrics."""

    checkpoints: Counter[str] = field(default_factory=Counter)
    _nodes: dict[tuple[str, str], NodeMetrics] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def snapshot(self) -> dict[tuple[str, str], NodeMetrics]:
        """A copy of the counts, by graph and node."""
        with self._lock:
            return {key: NodeMetrics(**vars(counts)) for key, counts in self._nodes.items()}

    def on_node_start(self, event: NodeEvent) -> None:
        with self._lock:
            self._of(event).started += 1

    def on_node_end(self, event: NodeEndEvent) -> None:
        with self._lock:
            counts = self._of(event)
            counts.ended += 1
            counts.seconds += event.seconds

    def on_node_error(self, event: NodeErrorEvent) -> None:
        with self._lock:
            counts = self._of(event)
            if event.will_retry:
                counts.retried += 1
            else:
                counts.failed += 1

    def on_checkpoint(self, event: CheckpointEvent) -> None:
        with self._lock:
            self.checkpoints[event.graph] += 1

    def _of(self, event: NodeEvent) -> NodeMetrics:
        return self._nodes.setdefault((event.graph, event.node), NodeMetrics())


def _where(event: NodeEvent) -> tuple[str, str]:
    return f"{event.graph} of thread {event.thread_id}", event.node
