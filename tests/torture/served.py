"""What the workers of the harness import: the seed's graphs, and the hooks by which the nemesis reaches into a worker.

``PETIOLE_TEST_TORTURE`` is ``seed:count:folder``. While a file is in that folder: ``shuffle`` sends messages in random order,
``lose`` drops some, ``echo`` sends old ones again. ``swept.NAME`` is touched with each sweep of the worker ``NAME``.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from petiole_stores.records import TaskRef
from petiole_workers.celery.sweeper import Sweeper
from petiole_workers.publishing import Publisher
from tests.cluster import doubled
from tests.torture.graphs import make_graphs

VARIABLE = "PETIOLE_TEST_TORTURE"
#: The name of this worker's place.
PLACE_VARIABLE = "PETIOLE_TEST_TORTURE_PLACE"
SHUFFLE, LOSE, ECHO = "shuffle", "lose", "echo"
#: How many messages are held back for shuffling; how many old ones are remembered.
HELD, REMEMBERED = 4, 100


class Post:
    """Sends what it is given, or not, or something else."""

    def __init__(self, folder: Path, send: Any) -> None:
        self._folder, self._send = folder, send
        self._random = random.Random()
        self._held: list[TaskRef] = []
        self._old: list[TaskRef] = []

    def send(self, publisher: Publisher, line: Any, ref: TaskRef) -> None:
        if self._is_on(LOSE) and self._random.random() < 0.5:
            return
        self._held.append(ref)
        most = HELD if self._is_on(SHUFFLE) else 0
        while len(self._held) > most:
            self._send(publisher, line, self._held.pop(self._random.randrange(len(self._held))))
        if self._is_on(ECHO) and self._old:
            self._send(publisher, line, self._random.choice(self._old))
        self._old = [*self._old[-REMEMBERED:], ref]

    def _is_on(self, switch: str) -> bool:
        return (self._folder / switch).exists()


def install(folder: Path, place: str) -> None:
    """Replace the function that every message of this process goes through, and note its sweeps."""
    post = Post(folder, Publisher._send)

    def send(self: Publisher, line: Any, ref: TaskRef) -> None:
        post.send(self, line, ref)

    Publisher._send = send  # type: ignore[method-assign]
    tick = Sweeper.tick

    def noted(self: Sweeper) -> None:
        (folder / f"swept.{place}").touch()
        tick(self)

    Sweeper.tick = noted  # type: ignore[method-assign]


if _text := os.environ.get(VARIABLE):
    _seed, _count, _folder = _text.split(":", 2)
    globals().update(make_graphs(int(_seed), int(_count)))
    install(Path(_folder), os.environ.get(PLACE_VARIABLE, ""))

__all__ = ["ECHO", "LOSE", "PLACE_VARIABLE", "SHUFFLE", "VARIABLE", "doubled"]
