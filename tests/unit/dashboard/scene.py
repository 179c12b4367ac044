"""A store with a run in each state, made by one worker in this process; run as a module it fills a store to look at."""

from __future__ import annotations

from typing import NamedTuple

from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.client import Client
from petiole.testing import LocalWorker
from petiole_stores.store import Store
from tests.unit.dashboard import flows


class Scene(NamedTuple):
    """The worker that made it, and the ids of its runs by what has become of them."""

    worker: LocalWorker
    runs: dict[str, str]

    @property
    def client(self) -> Client:
        return self.worker.client


def make_scene(store: Store | str | None = None, *, width: int = 20) -> Scene:
    """Runs of each status; the store is one in memory unless it is given."""
    graphs = {graph.name: graph for graph in (flows.order(), flows.confirm(), flows.outer())}
    worker = LocalWorker([*graphs.values()], store)
    client, runs = worker.client, {}

    def submit(name: str, graph: str, input: flows.State, **more: object) -> str:
        handle = client.submit(graphs[graph], input, thread_id=f"shop:{name}", **more)  # type: ignore[arg-type]
        runs[name] = handle.run_id
        return handle.thread_id

    submit("succeeded", "order", {"text": "tea", "width": width}, tags=["nightly", "eu"])
    submit("failed", "order", {"text": flows.HOSTILE, "fail": True}, tags=[flows.HOSTILE])
    submit("interrupted", "order", {"text": "a boat", "ask": True})
    submit("confirm", "confirm", {"text": "x"})
    submit("nested", "outer", {"text": "x"})
    worker.run_until_idle()
    client.cancel(submit("cancelled", "order", {"text": "coffee"}), reason="changed my mind")
    submit("waiting", "order", {"text": "later"}, at=worker.clock() + 3600)
    client.pause(submit("paused", "order", {"text": "paused"}), reason="stocktaking")
    submit("queued", "order", {"text": "queued"})
    return Scene(worker, runs)


def reader_of(scene: Scene, **limits: list[str]) -> TestClient:
    """Asks the application with a key that may read alone, and within limits."""
    _, token = Keys(scene.worker.store).create("reader", ["read"], **limits)  # type: ignore[arg-type]
    app = create_app(scene.client, authenticated=True)
    return TestClient(app, headers={"Authorization": f"Bearer {token}"})


if __name__ == "__main__":
    import sys

    make_scene(sys.argv[1], width=int(sys.argv[2]) if len(sys.argv) > 2 else 20)
