"""Fixtures for pytest: in a ``conftest.py``, write ``pytest_plugins = ["petiole.testing.pytest_plugin"]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from petiole.testing import Clock, LocalWorker


@pytest.fixture
def petiole_clock() -> Clock:
    """The clock of the test's workers, standing still at the time of the test's start."""
    from petiole.testing import Clock

    return Clock()


@pytest.fixture
def petiole_worker(petiole_clock: Clock) -> Iterator[Callable[..., LocalWorker]]:
    """Makes workers: ``petiole_worker(graph, …, **options of LocalWorker) -> LocalWorker``, closed at the test's end.

    Each has a store of its own; ``worker.another()`` makes one more on the same.
    """
    from petiole.testing import LocalWorker

    with ExitStack() as stack:

        def make(*graphs: Any, **options: Any) -> LocalWorker:
            return stack.enter_context(LocalWorker(graphs, **{"clock": petiole_clock, **options}))

        yield make
