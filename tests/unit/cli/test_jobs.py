"""``petiole bulk``: jobs that servers do, looked at and stopped from the shell."""

from __future__ import annotations

from petiole.audit.entry import Origin
from petiole.bulk.job import Job, Refusal, Wanted
from petiole.bulk.kept import KeptJobs
from petiole_stores.memory import MemoryStore
from petiole_stores.records import RunFilter
from tests.unit.cli.conftest import Cli


def test_jobs_are_listed_shown_and_cancelled(cli: Cli, store: MemoryStore) -> None:
    assert "no bulk job" in cli("bulk", "list").err
    kept = KeptJobs(store)
    job = Job(
        id="job-7",
        wanted=Wanted(action="replay", filter=RunFilter(status=["failed"]), reason="fixed"),
        origin=Origin(actor="key:1", via="dashboard"),
        total=9,
        done=4,
        refused={"it is queued": 1},
        refusals=[Refusal(run_id="r", thread_id="order-1", reason="it is queued")],
        created_at=1.0,
        beat_at=2.0,
    )
    kept.add(job)
    assert [one["id"] for one in cli("bulk", "list", "-o", "json").json] == ["job-7"]
    assert "replay" in cli("bulk", "list").out
    shown = cli("bulk", "get", "job-7")
    assert "1 refused: it is queued" in shown.out
    assert "order-1" in shown.out
    assert cli("bulk", "get", "job-7", "-o", "json").json["by"] == "key:1"
    assert "4 of 9 were done" in cli("bulk", "cancel", "job-7").err
    assert kept.claim("job-7", "me") is not None
    assert kept.renew("job-7", "me") == "unwanted"
    [entry] = cli("audit", "list", "--action", "bulk.cancel", "-o", "json").json
    assert entry["details"] == {"job": "job-7"}


def test_a_job_that_is_not_there_or_has_ended_is_not_cancelled(cli: Cli, store: MemoryStore) -> None:
    assert "does not exist" in cli("bulk", "cancel", "none").err
    assert "does not exist" in cli("bulk", "get", "none").err
    ended = Job(
        id="ended",
        wanted=Wanted(action="cancel", filter=RunFilter()),
        origin=Origin(actor="key:1", via="api"),
        status="done",
        created_at=1.0,
        beat_at=2.0,
    )
    KeptJobs(store).add(ended)
    said = cli("bulk", "cancel", "ended")
    assert said.code != 0
    assert "is done" in said.err
