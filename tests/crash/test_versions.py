"""Versions of a graph under real workers: side by side, one in the other's place, and one that has lost a node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petiole.client import RunHandle
from petiole_workers.settings import environment
from tests.cluster import Cluster, WorkerProcess, open_backend
from tests.cluster.worker import IMPORTS
from tests.graphs import journal
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("versions")
    with (
        open_backend("postgresql+redis", folder, request) as backend,
        Cluster(backend, folder, graphs=("tests.versions:pinned1",), options={"concurrency": 1}) as cluster,
    ):
        yield cluster


@pytest.fixture
def cluster(fleet: Cluster) -> Iterator[Cluster]:
    """No worker of another test is among the living."""
    yield fleet
    for worker in fleet.workers:
        worker.stop()
    fleet.kill_all()


class Journey:
    """One run, held at a node until its gate opens."""

    def __init__(self, cluster: Cluster, folder: Path, hold: str = "first") -> None:
        folder.mkdir()
        self.folder, self.cluster = folder, cluster
        self.handle: RunHandle = cluster.client.submit(
            "versioned", {"desk": str(folder), "hold": hold, "trail": []}
        )

    def await_node(self, node: str) -> None:
        wait_until(lambda: node in [line.node for line in journal(self.folder)], 30, f"node {node}")

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def trail(self) -> Any:
        return self.handle.result(timeout=40)["trail"]


def serve(cluster: Cluster, graph: str) -> WorkerProcess:
    [worker] = cluster.start(graphs=[f"tests.versions:{graph}"], name=graph)
    return worker


def test_pinned_threads_end_on_their_version_and_new_ones_begin_on_the_newest(
    cluster: Cluster, tmp_path: Path
) -> None:
    serve(cluster, "pinned1")
    old = Journey(cluster, tmp_path / "old")
    old.await_node("first")
    serve(cluster, "pinned2")
    wait_until(
        lambda: cluster.client.submit("versioned", {"desk": str(tmp_path), "hold": ""}).run.version == "2", 20
    )
    new = Journey(cluster, tmp_path / "new")
    old.open_gate()
    new.open_gate()
    assert old.trail() == ["first 1", "last 1"]
    assert new.trail() == ["first 2", "last 2"]
    assert (old.handle.run.version, new.handle.run.version) == ("1", "2")


def test_a_pinned_thread_waits_blocked_for_its_version(cluster: Cluster, tmp_path: Path) -> None:
    first = serve(cluster, "pinned1")
    held = Journey(cluster, tmp_path / "held")
    held.await_node("first")
    serve(cluster, "pinned2")
    first.stop()
    held.open_gate()
    again = serve(cluster, "pinned1")
    assert held.trail() == ["first 1", "last 1"]
    assert again.running()


def test_an_upgraded_thread_goes_on_in_the_newer_version(cluster: Cluster, tmp_path: Path) -> None:
    old = serve(cluster, "upgraded1")
    journey = Journey(cluster, tmp_path / "run")
    journey.await_node("first")
    journey.open_gate()
    # Its first node ends in the old version; what comes after is planned by whoever settles.
    wait_until(lambda: journey.handle.run.checkpoint_id, 20)
    journey.trail()
    held = Journey(cluster, tmp_path / "held", hold="last")
    held.await_node("last")
    old.kill()
    serve(cluster, "upgraded2")
    held.open_gate()
    assert held.trail() == ["first 1", "last 2"]


def test_a_node_that_the_newer_version_lacks_blocks_its_threads_until_the_older_one_is_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    old = serve(cluster, "with_old")
    journey = Journey(cluster, tmp_path / "run", hold="old")
    journey.await_node("old")

    checked = graph_check(cluster, "without_old")
    assert checked.returncode == 1, checked.stderr
    assert journey.handle.thread_id in checked.stdout
    assert "'old'" in checked.stdout
    assert graph_check(cluster, "with_old").returncode == 0

    old.kill()
    serve(cluster, "without_old")
    wait_until(lambda: journey.handle.status() == "blocked", 40, lambda: journey.handle.run)
    reason = journey.handle.run.reason or ""
    assert all(word in reason for word in ("Unserved", "old", "versioned"))
    journey.open_gate()
    serve(cluster, "with_old")
    # With both there, each node goes to whoever gets it and has it.
    trail = journey.trail()
    assert [step.split()[0] for step in trail] == ["first", "old", "last"]
    assert trail[1] == "old 1"


def graph_check(cluster: Cluster, graph: str) -> subprocess.CompletedProcess[str]:
    base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
    return subprocess.run(
        [sys.executable, "-m", "petiole", "graph", "check", "--graphs", f"tests.versions:{graph}", "-o", "json"],
        env=environment(cluster.settings, base) | {"PYTHONPATH": IMPORTS}, cwd=cluster.folder,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
