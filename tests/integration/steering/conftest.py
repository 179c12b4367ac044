"""Workers in this process on every store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petiole import CompiledGraph
from petiole.testing import LocalWorker

#: Makes a worker that serves some graphs.
Serve = Callable[..., LocalWorker]


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.postgres),
        pytest.param("redis", marks=pytest.mark.redis),
    ]
)
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serve]:
    """Makes a worker that serves these graphs."""
    made: list[LocalWorker] = []

    def make(*graphs: CompiledGraph) -> LocalWorker:
        made.append(LocalWorker(graphs, url))
        return made[-1]

    url = None
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/steering.db"
    elif request.param != "memory":
        url = str(request.getfixturevalue(f"{request.param}_url"))
    yield make
    for worker in made:
        worker.close()
