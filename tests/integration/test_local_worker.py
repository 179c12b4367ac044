"""``petiole.testing`` on the real stores: their leases and timers go by the test's clock too."""

from __future__ import annotations

import pytest

from petiole.testing import LocalWorker
from tests.unit.driving import Switch, counting


@pytest.fixture(
    params=[
        pytest.param("postgres_url", marks=pytest.mark.postgres),
        pytest.param("redis_url", marks=pytest.mark.redis),
    ]
)
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def test_a_lost_attempt_is_taken_over_when_the_clock_has_moved(url: str) -> None:
    switch = Switch()
    with LocalWorker([counting(switch)], url) as worker:
        run = worker.client.submit("counting", {"n": 1}, thread_id="t")
        worker.crash_at("finish.before", node="double")
        worker.run_until_idle()
        assert "claimed" in {wait.kind for wait in worker.client.explain("t").waits}
        worker.clock.tick(16)
        worker.run_until_idle()
        assert run.result(0)["n"] == 4
        assert switch.calls.count("double") == 2


def test_held_back_and_dead_letters(url: str) -> None:
    switch = Switch()
    switch.broken = True
    with LocalWorker([counting(switch)], url) as worker:
        client = worker.client
        run = client.submit("counting", {"n": 1}, thread_id="t")
        client.pause("t", reason="maintenance")
        worker.run_until_idle()
        assert client.explain("t").waits[0].detail == "the run is paused: maintenance"
        client.unpause("t")
        worker.run_until_idle()
        [letter] = client.dead_letters(node="double", error_type="ValueError")
        assert client.drop_dead_letters([letter.task.task_id]) == 1
        assert [*client.dead_letters()] == []
        switch.broken = False
        [treated] = client.replay_all(client.list_runs(status="failed", error_type="ValueError"))
        assert treated.result == "done"
        worker.run_until_idle()
        assert run.result(0)["n"] == 4
        assert client.delete("t")
