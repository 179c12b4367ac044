"""How nodes and stores fare in this process: failures in a row, and the stretches they earned."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

#: How many nodes and stores are remembered; the one that was tried longest ago is forgotten first.
MOST_KEYS = 4096


class Streak(NamedTuple):
    """What is remembered of one key."""

    failures: int  #: in a row, up to now
    stretches: int


_NONE = Streak(0, 0)


class Streaks:
    """A bounded memory, safe to use from several threads; a forked child starts with an empty one."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._reset()
        # A lock that another thread held during the fork would never be free in the child.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Streak] = OrderedDict()

    def stretches(self, key: Hashable) -> int:
        """By how many factors the waits of ``key`` are stretched now."""
        return self._known.get(key, _NONE).stretches

    def failed(self, key: Hashable, threshold: int, most: int) -> None:
        """A failure: above ``threshold`` in a row it adds a stretch, of which there are at most ``most``."""
        with self._lock:
            failures, stretches = self._known.pop(key, _NONE)
            failures += 1
            if failures > threshold:
                stretches = min(stretches + 1, most)
            self._known[key] = Streak(failures, stretches)
            while len(self._known) > self._most:
                self._known.popitem(last=False)

    def succeeded(self, key: Hashable) -> None:
        """A success: the row is over and one stretch is taken back. What is as good as new is forgotten."""
        if key not in self._known:
            return
        with self._lock:
            stretches = self._known.pop(key, _NONE).stretches - 1
            if stretches > 0:
                self._known[key] = Streak(0, stretches)

    def __len__(self) -> int:
        return len(self._known)
