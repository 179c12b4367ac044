"""The two clocks of one try at a node: how long it has run, and how long it has shown no progress."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Literal

from petiole_stores.errors import PetioleError
from petiole_workers.graph import NodeSpec, TimeoutPolicy

Limit = Literal["run", "idle"]


class NodeTimeoutError(PetioleError):
    """A node ran longer than its ``timeout``, or went without progress for longer than its ``idle_timeout``.

    As in LangGraph it is no ``TimeoutError``: retry policies take it by default.

    node: its name.
    kind: which limit it was past; ``None``: one of both.
    run_timeout, idle_timeout: its limits in seconds.
    """

    def __init__(
        self,
        message: str,
        *,
        node: str = "",
        kind: Limit | None = None,
        run_timeout: float | None = None,
        idle_timeout: float | None = None,
    ) -> None:
        super().__init__(message)
        self.node, self.kind = node, kind
        self.run_timeout, self.idle_timeout = run_timeout, idle_timeout


def timed_out(node: NodeSpec, limit: Limit | None = None) -> NodeTimeoutError:
    """The error for a node past its ``limit``; ``None``: past one of those that it has."""
    ran = f"ran longer than its timeout of {node.timeout} s"
    idle = f"showed no progress for longer than its idle_timeout of {node.idle_timeout} s"
    if limit is None:
        limit = "run" if node.idle_timeout is None else "idle" if node.timeout is None else None
    said = {"run": ran, "idle": idle, None: f"{ran}, or {idle}"}[limit]
    return NodeTimeoutError(
        f"node {node.name!r} {said}",
        node=node.name,
        kind=limit,
        run_timeout=node.timeout,
        idle_timeout=node.idle_timeout,
    )


def limited(node: NodeSpec, limits: TimeoutPolicy | None) -> NodeSpec:
    """The node with these limits in place of its own; ``None``: with its own."""
    if limits is None:
        return node
    return dataclasses.replace(
        node, timeout=limits.run_seconds, idle_timeout=limits.idle_seconds, refresh_on=limits.refresh_on
    )


def first_limit(node: NodeSpec) -> float | None:
    """Seconds until a node that shows no progress is past a limit; ``None``: it has none."""
    return min((it for it in (node.timeout, node.idle_timeout) if it is not None), default=None)


class Clocks:
    """Begins to count when it is made.

    extend: told how many seconds the node then has at least, whenever it has shown progress.
    """

    def __init__(self, node: NodeSpec, extend: Callable[[float], None] | None = None) -> None:
        self._node, self._extend = node, extend
        self._began = self._shown = time.monotonic()
        self._too_idle = False

    def progress(self, *, heartbeat: bool, pause: float = 0.0) -> None:
        """The node has shown progress, and means to be away for ``pause`` seconds."""
        node, now = self._node, time.monotonic()
        if node.idle_timeout is None or (node.refresh_on == "heartbeat" and not heartbeat):
            return
        self._too_idle = self._too_idle or now - self._shown > node.idle_timeout
        self._shown = max(self._shown, now + pause)
        if self._extend is not None and (left := self.left()) is not None:
            self._extend(max(left, 0.0))

    def left(self) -> float | None:
        """Seconds until the first limit; ``None`` without any."""
        return min((left for left, _ in self._lefts()), default=None)

    def error(self) -> NodeTimeoutError:
        """The error for the limit that is reached first."""
        return timed_out(self._node, min(self._lefts())[1])

    def check(self) -> None:
        """For a node that nothing could interrupt: raises if it was past a limit at any time."""
        for left, limit in self._lefts():
            if left < 0 or (limit == "idle" and self._too_idle):
                raise timed_out(self._node, limit)

    def _lefts(self) -> list[tuple[float, Limit]]:
        node, now = self._node, time.monotonic()
        lefts: list[tuple[float, Limit]] = []
        if node.timeout is not None:
            lefts.append((self._began + node.timeout - now, "run"))
        if node.idle_timeout is not None:
            lefts.append((self._shown + node.idle_timeout - now, "idle"))
        return lefts
