"""A bulk job whose server is killed in the middle of it: another server goes on with it, and ends it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from petiole import Client, Settings
from petiole_workers.settings import environment
from tests.processes import Leashed
from tests.unit.driving import counting
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.skipif(sys.platform != "linux", reason="its processes die with the test by Linux's means"),
]

ROOT = Path(__file__).parents[3]
PATH = os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores"))
RUNS = 500


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    """A store, and a broker that nobody reaches: what is submitted waits."""
    return Settings(data_dir=str(tmp_path), store=postgres_url, broker="redis://127.0.0.1:1/0")


class Servers:
    """Servers of one store, as processes."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self.processes: list[Leashed] = []
        self._clients: list[httpx.Client] = []

    def start(self) -> tuple[Leashed, httpx.Client]:
        """One more server, once it serves."""
        base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
        env = environment(self._settings, base) | {"PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "petiole", "serve", "--port", "0", "--no-auth"]
        log = self._folder / f"server-{len(self.processes)}"
        process = Leashed(command, log=log, env=env, cwd=self._folder)
        self.processes.append(process)

        def look() -> str | None:
            assert process.running(), process.tail()
            found = re.search(r"serving (http://\S+) ", process.tail(20_000))
            return found[1] if found else None

        url = wait_until(look, 60, lambda: f"the server; its log ends:\n{process.tail()}")
        self._clients.append(httpx.Client(base_url=f"{url}/api/v1", timeout=30))
        return process, self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for process in self.processes:
            process.kill()


@pytest.fixture
def servers(settings: Settings, tmp_path: Path) -> Iterator[Servers]:
    made = Servers(settings, tmp_path)
    yield made
    made.close()


def job(http: httpx.Client, id: str) -> dict[str, Any]:
    answer = http.get(f"/bulk/{id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_job_outlives_its_server(settings: Settings, servers: Servers) -> None:
    graph = counting()
    with Client(settings=settings) as client:
        for number in range(RUNS):
            client.submit(graph, {"n": 1}, thread_id=f"t{number}")
        first, asked = servers.start()
        body = {"action": "pause", "filter": {"graph": "counting"}, "dry_run": False}
        made = asked.post("/bulk", json=body, headers={"Idempotency-Key": "once"})
        assert made.status_code == 202, made.text
        id, total = made.json()["id"], made.json()["total"]
        assert total == RUNS
        wait_until(lambda: job(asked, id)["done"] > 0, 30, "the job's beginning", interval=0.005)
        first.send(signal.SIGKILL)
        first.wait(10)
        _, http = servers.start()
        left = job(http, id)
        assert (left["status"], 0 < left["done"] < RUNS) == ("running", True), left
        again = http.post("/bulk", json=body, headers={"Idempotency-Key": "once"})
        assert again.json()["id"] == id
        wait_until(lambda: job(http, id)["status"] == "done", 90, lambda: f"the end: {job(http, id)}")
        done = job(http, id)
        assert done["done"] + done["already"] == RUNS
        assert done["already"] <= 50  # the batch that the first one had in hand
        assert client.count_runs()["paused"] == RUNS
