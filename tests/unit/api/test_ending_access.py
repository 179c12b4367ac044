"""Access that ends, that cannot be judged, and that reaches into what others have in one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import pytest
from fastapi.testclient import TestClient

from petiole import Client
from petiole.access.keys import Keys
from petiole.access.principal import Principal
from petiole.api import sse
from petiole.api.app import create_app
from petiole.api.limits import LARGE
from petiole.dashboard.seeing import visible_run
from petiole_stores.errors import NotFoundError, StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_workers.settings import Settings
from tests.unit.api.listening import listening, told
from tests.unit.api.serving import serving
from tests.unit.driving import counting


def test_a_stream_ends_soon_after_its_key_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RECHECK", 0.05)
    monkeypatch.setattr("petiole.access.keys.FRESH", 0.0)
    with serving(counting()) as served:
        run = served.client.submit("counting", {"n": 1}, at=time.time() + 3600)
        keys = Keys(served.client.store)
        key, token = keys.create("reader", ["read"])
        with listening(create_app(served.client, authenticated=True)) as url:
            ended: list[str] = []

            def follow() -> None:
                head = {"Authorization": f"Bearer {token}"}
                with httpx.stream("GET", f"{url}/api/v1/runs/{run.run_id}/events", headers=head) as answer:
                    opened.set()
                    ended.extend(f"{one.name}: {one.data['detail']}" for one in told(answer))

            opened = threading.Event()
            reader = threading.Thread(target=follow, daemon=True)
            reader.start()
            assert opened.wait(10)
            reader.join(0.3)
            assert reader.is_alive(), f"a good key ends nothing: {ended}"
            keys.revoke(key.key_id)
            reader.join(10)
            assert not reader.is_alive()
    [said] = ended
    assert said.startswith("error: ")
    assert "is revoked" in said


def test_a_store_that_is_away_is_no_refusal_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    _, token = Keys(store).create("reader", ["read"])

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailableError("the store does not answer")

    with TestClient(
        create_app(Client(store, broker="memory://"), authenticated=True), raise_server_exceptions=False
    ) as http:
        monkeypatch.setattr(store, "get_items", away)
        answer = http.get("/api/v1/runs", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 503
    assert answer.json()["type"] == "StoreUnavailableError"


@pytest.mark.parametrize(("scope", "status"), [("read", 403), ("submit", 403), ("operate", 422)])
def test_only_who_may_import_may_send_a_large_body(scope: str, status: int) -> None:
    store = MemoryStore()
    _, token = Keys(store).create("someone", [scope])
    client = Client(store, broker="memory://", settings=Settings(max_body=1000))
    [path] = LARGE
    with TestClient(create_app(client, authenticated=True)) as http:
        answer = http.post(path, content=b" " * 5000, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "ask",
    [
        lambda served, theirs: served.refused(
            "GET", "/threads/shared/state", 404, params={"checkpoint": theirs}
        ),
        lambda served, theirs: served.refused(
            "POST", "/runs/{own}/fork", 404, json={"checkpoint_id": theirs}
        ),
        lambda served, theirs: served.refused("POST", "/runs/{own}/replay", 404, json={"checkpoint": theirs}),
        lambda served, theirs: served.refused("GET", "/runs/diff", 404, params={"a": "shared", "b": theirs}),
    ],
)
def test_another_graph_s_checkpoint_in_a_shared_thread_is_not_there(
    ask: Callable[..., object],
) -> None:
    with serving(counting(), counting(name="other")) as served:
        served.client.submit("other", {"n": 5}, thread_id="shared")
        served.work()
        theirs = served.client.history("shared")[0].checkpoint
        assert theirs
        own = served.client.submit("counting", {"n": 1}, thread_id="shared")
        served.work()
        served.principal = Principal(name="key:1", scopes=frozenset({"operate"}), graphs=("counting",))
        refused = served.refused
        served.refused = lambda method, path, status, **options: refused(  # type: ignore[method-assign]
            method, path.replace("{own}", own.run_id), status, **options
        )
        ask(served, theirs.id)
        assert served.get("/runs/diff", a="shared", b=own.run_id)["items"] == []
        with pytest.raises(NotFoundError):
            visible_run(served.client, served.principal, own.run_id)
        alone = served.client.submit("counting", {"n": 1}, thread_id="alone")
        assert visible_run(served.client, served.principal, alone.run_id).run_id == alone.run_id
