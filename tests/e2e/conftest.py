"""pytest-celery's set-up for Petiole: two worker containers, a Redis that is the store, and each kind of broker.

Over containers where a Docker engine answers, else over processes of this machine (tests/e2e/local_engine.py).
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
import pytest_docker_tools.wrappers.container
from celery import Celery
from docker.errors import DockerException
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
    CeleryWorkerContainer,
)
from pytest_celery.vendors.worker.defaults import DEFAULT_WORKER_VOLUME
from pytest_docker_tools import build, container, fxtr

from petiole.client import Client
from petiole_workers.settings import Settings
from tests.conftest import unavailable
from tests.e2e.local_engine import SERVERS, LocalEngine

ROOT = Path(__file__).parents[2]
NAMES = ("first", "second")
BROKERS = {"redis": "celery_redis_broker", "rabbitmq": "celery_rabbitmq_broker"}


class PetioleWorkerContainer(CeleryWorkerContainer):  # type: ignore[misc]
    """``petiole worker`` in pytest-celery's hands."""

    @classmethod
    def initial_env(
        cls, celery_worker_cluster_config: dict[str, Any], initial: dict[str, str] | None = None
    ) -> dict[str, str]:
        broker, store = (
            celery_worker_cluster_config[f"celery_{part}_cluster_config"]["urls"][0]
            for part in ("broker", "backend")
        )
        return {
            **(initial or {}),
            "PETIOLE_BROKER": broker,
            "PETIOLE_STORE": store,
            "PETIOLE_LEASE": "3",
            "PETIOLE_SWEEP": "0.5",
            "PYTHONPATH": "/app",
            "PYTHONUNBUFFERED": "1",
        }


@pytest.fixture(scope="session")
def docker_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The Docker engine, or what stands in for it."""
    client = engine()
    if client is not None:
        with closing(client):
            yield client
        return
    with pytest.MonkeyPatch.context() as patch:
        # Whatever this machine is itself, its processes are reached at their own ports.
        patch.setattr(pytest_docker_tools.wrappers.container, "tests_inside_container", lambda: False)
        yield LocalEngine(tmp_path_factory.mktemp("engine"))


def engine() -> docker.DockerClient | None:
    """The Docker engine that answers here, if any."""
    with warnings.catch_warnings():
        # The library leaves the socket of a failed try open: it is collected here, not in the midst of some other test.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return docker.from_env()
        except DockerException:
            pass
        gc.collect()
    return None


petiole_image = build(path=str(ROOT), dockerfile="deploy/Dockerfile", tag="petiole-e2e")


def worker_container(name: str) -> Any:
    return container(
        image="{petiole_image.id}",
        environment=fxtr("default_worker_env"),
        network="{default_pytest_celery_network.name}",
        volumes={"{default_worker_volume.name}": DEFAULT_WORKER_VOLUME},
        wrapper_class=PetioleWorkerContainer,
        timeout=60,
        command=["worker", "--graphs", "flow:flow", "--concurrency", "1", "--name", name],
    )


first_container, second_container = map(worker_container, NAMES)


@pytest.fixture
def default_worker_container_cls() -> type[PetioleWorkerContainer]:
    return PetioleWorkerContainer


@pytest.fixture
def default_worker_initial_content() -> dict[str, bytes]:
    return {"flow.py": Path(__file__).with_name("flow.py").read_bytes()}


@pytest.fixture(params=list(BROKERS))
def celery_broker_cluster(
    request: pytest.FixtureRequest, docker_client: Any
) -> Iterator[CeleryBrokerCluster]:
    if isinstance(docker_client, LocalEngine) and (reason := SERVERS[request.param].missing()):
        unavailable(f"no private {request.param}: {reason}")
    cluster = CeleryBrokerCluster(request.getfixturevalue(BROKERS[request.param]))
    yield cluster
    cluster.teardown()


@pytest.fixture
def celery_backend_cluster(celery_redis_backend: Any) -> Iterator[CeleryBackendCluster]:
    """Petiole has no result backend: this Redis is its store."""
    cluster = CeleryBackendCluster(celery_redis_backend)
    yield cluster
    cluster.teardown()


@pytest.fixture
def celery_worker_cluster(
    first_container: PetioleWorkerContainer,
    second_container: PetioleWorkerContainer,
    celery_setup_app: Celery,
) -> Iterator[CeleryWorkerCluster]:
    cluster = CeleryWorkerCluster(
        *(CeleryTestWorker(one, celery_setup_app) for one in (first_container, second_container))
    )
    yield cluster
    cluster.teardown()


@pytest.fixture
def client(celery_setup: CeleryTestSetup) -> Iterator[Client]:
    """A client outside the containers."""
    store, broker = (
        node.container.celeryconfig["host_url"] for node in (celery_setup.backend, celery_setup.broker)
    )
    with Client(settings=Settings(store=store, broker=broker, lease=3.0, sweep=0.5)) as made:
        yield made
