"""What happens at named points of a worker's work: a crash, or whatever a test wants to be done just there.

The points are those of :mod:`petiole_stores.crashpoints`, reached here in one process: a crash unwinds the worker's stack
in place of ending the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from petiole_stores import crashpoints
from petiole_stores.errors import InputError

NODE_BEFORE = "node.before"
#: Every point, and what is true when it is reached.
POINTS = crashpoints.POINTS | {NODE_BEFORE: "a task is claimed, its node is about to be called"}


class SimulatedCrash(KeyboardInterrupt):
    """The end of a worker at a point. Node code that catches ``Exception`` does not see it."""

    def __init__(self, worker: object, process: str) -> None:
        super().__init__(f"{worker!r} crashes ({process})")
        self.worker, self.process = worker, process


@dataclass
class Hook:
    """One thing to be done at a point, so many times."""

    point: str
    do: Callable[[], object]
    node: str | None = None
    times: int = 1

    def __post_init__(self) -> None:
        if self.point not in POINTS:
            raise InputError(f"{self.point!r} is no point; there are {', '.join(POINTS)}")
        if self.times < 1:
            raise InputError(f"times is {self.times}: take at least 1")


class Hooks:
    """The hooks of one worker, and the nodes that it is busy with."""

    def __init__(self) -> None:
        self._hooks: list[Hook] = []
        self._nodes: Collection[str] = ()

    def add(self, hook: Hook) -> None:
        self._hooks.append(hook)

    def busy_with(self, nodes: Collection[str]) -> None:
        self._nodes = nodes

    def reach(self, point: str) -> None:
        for hook in [*self._hooks]:
            if hook.point == point and (hook.node is None or hook.node in self._nodes):
                hook.times -= 1
                if not hook.times:
                    self._hooks.remove(hook)
                hook.do()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Points that this thread reaches are this worker's, until the block is over or another worker's begins in it."""
        stack = _watch.stack
        stack.append(self)
        _watch.begin()
        try:
            yield
        finally:
            _watch.end()
            stack.pop()


class _Watch:
    """Hands the points that a thread reaches to the worker that acts in it."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._acting = 0

    @property
    def stack(self) -> list[Hooks]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[Hooks] = self._local.stack
        return stack

    def begin(self) -> None:
        with self._lock:
            self._acting += 1
            if self._acting == 1:
                crashpoints.arm(self)

    def end(self) -> None:
        with self._lock:
            self._acting -= 1
            if not self._acting:
                crashpoints.arm(None)

    def reach(self, point: str) -> None:
        if self.stack:
            self.stack[-1].reach(point)


_watch = _Watch()
