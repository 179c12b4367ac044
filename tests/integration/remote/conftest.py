"""A worker on a store, and both clients of it: the direct one, and the one over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from petiole import Client, CompiledGraph
from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.testing import LocalWorker
from petiole_stores.opening import open_store
from tests.integration.remote.nesting import nesting
from tests.unit.api.asking import asking
from tests.unit.api.listening import listening
from tests.unit.chatty import chatty
from tests.unit.driving import Switch, counting


class Pair:
    """The two clients, the worker that does what is submitted, and what breaks a node of ``counting``."""

    def __init__(self, worker: LocalWorker, url: str, token: str, switch: Switch) -> None:
        self.worker, self.url, self.token, self.switch = worker, url, token, switch
        self.direct = worker.client
        self.remote = Client(url, token=token, graphs=[asking()])

    def graph(self, name: str) -> CompiledGraph:
        """One of the worker's graphs."""
        return self.direct.graph_of(name)

    def work(self) -> None:
        self.worker.run_until_idle()

    def working(self) -> threading.Thread:
        """Work in a thread until what waits now is done."""
        thread = threading.Thread(target=self.work)
        thread.start()
        return thread


@contextmanager
def paired(url: str) -> Iterator[Pair]:
    """Both clients of one store. Authentication is on; the remote client has a key that may do all."""
    switch = Switch()
    graphs = [counting(switch), asking(), nesting(), chatty()]
    store = open_store(url)
    with LocalWorker(graphs, store) as worker, Client(store, broker="memory://", graphs=graphs) as client:
        _, token = Keys(store).create("tests", ["admin"])
        with listening(create_app(client, authenticated=True)) as address:
            found = Pair(worker, address, token, switch)
            for graph in graphs:
                found.direct.graph_of(graph.name, graph)
            with found.remote:
                yield found
    store.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with paired(f"sqlite:///{tmp_path_factory.mktemp('remote')}/store.db") as found:
        yield found


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The same on two stores."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('both')}/store.db"
    else:
        url = str(request.getfixturevalue("module_postgres_url"))
    with paired(url) as found:
        yield found


@pytest.fixture(autouse=True)
def mended(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test begins and ends with a graph that works and nothing left to do."""
    name = next((it for it in ("pair", "both") if it in request.fixturenames), None)
    pair = request.getfixturevalue(name) if name else None
    if pair is not None:
        pair.switch.broken = False
    yield
    if pair is not None:
        pair.switch.broken = False
        pair.work()
