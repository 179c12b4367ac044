"""Bulk actions: a dry run, a job with its progress, and what it may not touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from petiole.api.access import Principal
from petiole.audit.entry import Origin
from petiole.bulk.job import Job, Wanted
from petiole.bulk.kept import KeptJobs
from petiole_stores.records import RunFilter
from tests.unit.api.serving import API, Served, serving
from tests.unit.driving import Switch, counting
from tests.waiting import wait_until

SWITCH = Switch()


@pytest.fixture
def served() -> Iterator[Served]:
    SWITCH.broken = True
    with serving(counting(SWITCH)) as made:
        yield made


def submit(served: Served, *threads: str) -> None:
    for thread_id in threads:
        served.post("/runs", {"graph": "counting", "input": {"n": 1}, "thread_id": thread_id})


def ended(served: Served, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The job that this request began, once it has ended."""
    answer = served.http.post(f"{API}/bulk", json=body | {"dry_run": False}, **options)
    assert answer.status_code == 202, answer.text
    path = answer.headers["location"].removeprefix(API)

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = served.get(path)
        return None if found["status"] == "running" else found

    found = wait_until(look, message="the job's end")
    assert found is not None
    return found


def test_a_dry_run_changes_nothing_and_a_job_replays_what_it_told(served: Served) -> None:
    submit(served, "a", "b", "c")
    served.work()
    body = {"action": "replay", "filter": {"status": ["failed"], "error_type": "ValueError"}}
    dry = served.post("/bulk", body)
    assert (dry["total"], dry["counts"], len(dry["sample"])) == (3, {"failed": 3}, 3)
    assert served.get("/runs/counts")["counts"]["failed"] == 3
    SWITCH.broken = False
    job = ended(served, body)
    assert (job["status"], job["total"], job["done"], job["refused"]) == ("done", 3, 3, {})
    served.work()
    assert served.get("/runs/counts")["counts"]["succeeded"] == 3
    assert served.get("/bulk")["items"] == [job]


@pytest.mark.parametrize(("action", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_open_runs_are_held_back_or_cancelled(served: Served, action: str, status: str) -> None:
    submit(served, "a", "b")
    job = ended(served, {"action": action, "filter": {"graph": "counting"}, "reason": "closed"})
    assert (job["done"], job["by"], job["reason"]) == (2, "anonymous", "closed")
    assert {run["status"] for run in served.get("/runs")["items"]} == {status}
    again = ended(served, {"action": action, "filter": {"graph": "counting"}})
    assert (again["done"], again["already"]) == (0, 2)


def test_what_is_refused_is_counted_by_its_reason(served: Served) -> None:
    submit(served, "a", "b")
    served.work()
    submit(served, "open")
    job = ended(served, {"action": "delete", "filter": {"graph": "counting"}})
    assert (job["done"], job["refused"]) == (2, {"its thread has an active run": 1})
    assert [one["thread_id"] for one in job["refusals"]] == ["open"]
    job = ended(served, {"action": "unpause", "filter": {"graph": "counting"}})
    assert job["already"] == 1


def test_a_job_touches_only_what_its_principal_sees(served: Served) -> None:
    submit(served, "acme:1", "other:1")
    served.principal = Principal(name="key:1", scopes=frozenset({"operate"}), namespaces=("acme",))
    job = ended(served, {"action": "cancel", "filter": {"graph": "counting"}})
    assert (job["total"], job["done"], job["by"]) == (1, 1, "key:1")
    served.principal = Principal(name="key:2", scopes=frozenset({"operate"}), namespaces=("other",))
    assert served.get("/bulk")["items"] == []
    served.refused("GET", f"/bulk/{job['id']}", 404)
    assert [run["status"] for run in served.get("/runs")["items"]] == ["queued"]


def test_a_key_gives_one_job_however_often_it_is_sent(served: Served) -> None:
    submit(served, "a", "b")
    body = {"action": "pause", "filter": {"graph": "counting"}}
    key = {"Idempotency-Key": "tuesday"}
    job = ended(served, body, headers=key)
    assert (job["done"], job["total"]) == (2, 2)
    served.post("/runs/a/unpause")
    assert ended(served, body, headers=key) == job
    assert [run["status"] for run in served.get("/runs")["items"]] == ["paused", "queued"]
    other = body | {"action": "cancel", "dry_run": False}
    assert "'tuesday'" in served.refused("POST", "/bulk", 409, json=other, headers=key)
    assert "NUL" in served.refused("POST", "/bulk", 422, json=body, headers={"Idempotency-Key": "a\x00"})
    served.principal = Principal(name="key:2", scopes=frozenset({"operate"}))
    assert ended(served, body, headers=key)["id"] != job["id"]


def test_a_running_job_is_cancelled_and_an_ended_one_is_not(served: Served) -> None:
    submit(served, "a")
    job = ended(served, {"action": "pause", "filter": {"graph": "counting"}})
    assert "is done" in served.refused("POST", f"/bulk/{job['id']}/cancel", 409)
    waiting = Job(
        id="elsewhere",
        wanted=Wanted(action="pause", filter=RunFilter(graph="counting")),
        origin=Origin(actor="key:1", via="api"),
        created_at=served.client.now(),
        beat_at=served.client.now(),
    )
    kept = KeptJobs(served.client.store)
    kept.add(waiting)
    assert served.post("/bulk/elsewhere/cancel")["id"] == "elsewhere"
    served.app.state.jobs.wake()
    wait_until(lambda: served.get("/bulk/elsewhere")["status"] == "cancelled", message="the job's end")


def test_a_filter_that_means_everything_is_refused(served: Served) -> None:
    assert "filter is empty" in served.refused("POST", "/bulk", 422, json={"action": "cancel", "filter": {}})
    served.refused("GET", "/bulk/nobody", 404)
