"""A client on a memory store, and workers on each store that needs no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petiole import Client, CompiledGraph, Settings
from petiole.testing import LocalWorker
from petiole_stores.memory import MemoryStore

#: Makes a worker that serves some graphs.
Serve = Callable[..., LocalWorker]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("memory://")


@pytest.fixture
def client(store: MemoryStore) -> Iterator[Client]:
    with Client(store, settings=Settings()) as made:
        yield made


@pytest.fixture(params=["memory", "sqlite"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Makes a worker that serves these graphs."""
    made: list[LocalWorker] = []

    def make(*graphs: CompiledGraph) -> LocalWorker:
        store = f"sqlite:///{tmp_path}/asking.db" if request.param == "sqlite" else None
        made.append(LocalWorker(graphs, store))
        return made[-1]

    yield make
    for worker in made:
        worker.close()
