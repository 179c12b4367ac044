"""The HTTP API on the real stores: a failed run found, followed, replayed and carried away."""

from __future__ import annotations

import pytest

from petiole_stores.opening import open_store
from tests.unit.api.serving import API, serving
from tests.unit.driving import Switch, counting
from tests.waiting import wait_until


@pytest.fixture(
    params=[
        pytest.param("postgres_url", marks=pytest.mark.postgres),
        pytest.param("redis_url", marks=pytest.mark.redis),
        pytest.param("sqlite", id="sqlite"),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue(request.param))


def test_a_failed_run_is_found_replayed_and_carried_away(url: str) -> None:
    switch = Switch()
    switch.broken = True
    store = open_store(url)
    with serving(counting(switch), store=store) as served:
        threads = ["acme:1", "acme:2"]
        for thread_id in threads:
            served.post(
                "/runs", {"graph": "counting", "input": {"n": 1}, "thread_id": thread_id, "tags": ["x"]}
            )
        served.work()
        found = served.get("/runs", status="failed", tag="x", error_type="ValueError", text="ACME")["items"]
        assert [run["thread_id"] for run in found] == ["acme:2", "acme:1"]
        run_id = found[0]["run_id"]
        assert served.get("/runs/counts", error_type="ValueError")["counts"]["failed"] == 2
        letters = {it["run_id"]: it["task_id"] for it in served.get("/dead-letters")["items"]}
        assert served.get(f"/dead-letters/{run_id}/{letters[run_id]}")["error_type"] == "ValueError"
        events = served.http.get(f"{API}/runs/{run_id}/events", params={"mode": "tasks"}).text
        assert events.count("event: end") == 1
        switch.broken = False
        body = {"action": "replay", "filter": {"status": ["failed"]}, "dry_run": False}
        job = served.post("/bulk", body)["id"]
        done = wait_until(
            lambda: (it := served.get(f"/bulk/{job}"))["status"] == "done" and it, message="the job's end"
        )
        assert done["done"] == 2
        served.work()
        assert served.get(f"/runs/{run_id}/wait", timeout=1)["status"] == "succeeded"
        assert served.get(f"/runs/{run_id}/result")["result"]["n"] == 4
        page = served.get(f"/runs/{run_id}/tasks", limit=2)
        assert len(served.get(f"/runs/{run_id}/tasks", cursor=page["next"])["items"]) > 0
        assert sum(it["count"] for it in served.get(f"/runs/{run_id}/task-counts")["items"]) > 4
        history = served.get("/threads/acme:2/history", limit=2)
        assert served.get("/threads/acme:2/history", before=history["next"])["items"][0]["next"]
        text = served.http.get(f"{API}/runs/{run_id}/export").content
        made = served.http.post(f"{API}/runs/import", content=text)
        assert made.status_code == 201, made.text
        assert served.get(f"/runs/{made.json()['run_id']}")["status"] == "paused"
        for path in (
            "/runs/%00",
            "/threads/%00/state",
            "/bulk/%00",
            "/dead-letters/a%00/b",
        ):
            served.refused("GET", path, 400)
        assert served.http.delete(f"{API}/threads/acme:1").json() == {"deleted": True}
    store.close()
