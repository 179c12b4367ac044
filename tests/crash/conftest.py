"""A cluster of real workers for one module and backend, and its logs where a test on it fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster, open_backend
from tests.cluster.backends import MATRIX

#: The file that takes longest.
LONGEST = "test_torture.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file of the package comes first: at the end one process would be left alone with it."""
    package = Path(__file__).parent
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(package)]
    ordered = sorted((items[place] for place in places), key=lambda item: item.path.name != LONGEST)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


@pytest.fixture(scope="module", params=MATRIX)
def shared_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """One cluster for the tests of a module on each backend."""
    folder: Path = tmp_path_factory.mktemp("cluster")
    with open_backend(request.param, folder, request) as backend, Cluster(backend, folder) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The module's cluster; what a test switched on is off again after it."""
    yield shared_cluster
    shared_cluster.double_messages(False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    found = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(found, Cluster):
        report.sections += [(f"log of worker {name}", text) for name, text in found.logs()]
    return report
