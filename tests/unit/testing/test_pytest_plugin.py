"""The fixtures for users' own tests."""

from __future__ import annotations

from collections.abc import Callable

from petiole.testing import Clock, LocalWorker
from petiole.testing.pytest_plugin import petiole_clock, petiole_worker  # noqa: F401 - fixtures
from tests.unit.driving import counting


def test_workers_of_a_test_share_its_clock(
    petiole_worker: Callable[..., LocalWorker],  # noqa: F811
    petiole_clock: Clock,  # noqa: F811
) -> None:
    worker = petiole_worker(counting(), name="mine@test")
    assert worker.clock is petiole_clock
    run = worker.client.submit("counting", {"n": 1})
    worker.run_until_idle()
    assert run.result(0)["n"] == 4
    assert [it.name for it in worker.client.workers()] == ["mine@test"]
