"""Kill and restart of workers and of the broker, through pytest-celery's own classes."""

from __future__ import annotations

import pytest
from pytest_celery import CeleryTestSetup, CeleryTestWorker

from petiole.client import Client, RunHandle
from petiole_stores.records import Task
from tests.e2e.conftest import NAMES
from tests.e2e.flow import STEPS
from tests.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(240)]


def alive(client: Client) -> set[str]:
    """The short names of the workers that are alive."""
    return {worker.name.partition("@")[0] for worker in client.workers() if worker.status == "alive"}


def await_claim(client: Client, handle: RunHandle) -> tuple[Task, str]:
    """Wait until a node is running, and give its task and the name of the worker that runs it."""

    def claimed() -> tuple[Task, str] | None:
        names = {worker.worker_id: worker.name.partition("@")[0] for worker in client.workers()}
        for task in client.tasks(handle.run_id):
            if task.node == "step" and task.status == "claimed" and task.holder in names:
                return task, names[task.holder]
        return None

    found = wait_until(claimed, 30, "a running node")
    assert found is not None
    return found


def check(client: Client, handle: RunHandle) -> list[Task]:
    """The run's end: the state, and each node's output committed once."""
    assert handle.result(timeout=60) == {"trail": list(range(STEPS))}
    tasks = [task for task in client.tasks(handle.run_id) if task.kind == "node"]
    assert [task.status for task in tasks] == ["done"] * STEPS
    assert len({task.checkpoint_id for task in tasks}) == STEPS
    return tasks


def workers(setup: CeleryTestSetup) -> dict[str, CeleryTestWorker]:
    return dict(zip(NAMES, setup.worker_cluster, strict=True))


def test_worker_killed_and_started_again(celery_setup: CeleryTestSetup, client: Client) -> None:
    assert celery_setup.ready(docker=True)
    wait_until(lambda: alive(client) == set(NAMES), 30, lambda: f"two workers, not {alive(client)}")
    handle = client.submit("flow", {"trail": []})
    task, name = await_claim(client, handle)
    victim = workers(celery_setup)[name]
    victim.kill()
    tasks = check(client, handle)
    [lost] = [found for found in tasks if found.task_id == task.task_id]
    assert [tried.outcome for tried in lost.attempts] == ["lost"]
    victim.restart()
    wait_until(lambda: alive(client) == set(NAMES), 30, lambda: f"{name} again beside {alive(client)}")


def test_broker_killed_and_started_again(celery_setup: CeleryTestSetup, client: Client) -> None:
    assert celery_setup.ready(docker=True)
    handle = client.submit("flow", {"trail": []})
    await_claim(client, handle)
    celery_setup.broker.kill()
    # Nothing can be told to anybody now: the run rests, and is not lost.
    later = client.submit("flow", {"trail": []})
    celery_setup.broker.restart()
    check(client, handle)
    check(client, later)
