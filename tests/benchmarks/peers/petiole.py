"""Petiole itself: a worker started as users start one, runs submitted by its client."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from petiole import Client, load_settings
from petiole.defaults import ground
from petiole_stores.opening import open_store
from petiole_workers.settings import environment
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.served import GRAPHS, REFERENCES
from tests.benchmarks.servers import Servers, stored_bytes
from tests.benchmarks.workloads import FANS, LONG_CHAIN, PROCESSES, RUNS, SHORT_CHAIN, big, small, wide
from tests.processes import Leashed
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
#: What each workload starts with, and the ``n`` it must end with.
INPUTS: dict[str, Any] = {
    "long": lambda: {"st": small()},
    "short": lambda: {"st": small()},
    **dict.fromkeys(FANS, lambda: {"st": small(), "out": []}),
    "changed": big,
    "unchanged": big,
    "wide": wide,
    "wide_once": wide,
}
#: Store and broker of each set-up.
SETUPS = {
    "postgres+redis": ("postgres", "redis"),
    "postgres+rabbitmq": ("postgres", "rabbitmq"),
    "redis+redis": ("redis", "redis"),
    "sqlite+embedded": ("sqlite", "embedded"),
}


class Petiole(Peer):
    """One set-up with default settings; ``settings`` overrides some of them."""

    def __init__(self, servers: Servers, setup: str, **settings: Any) -> None:
        self.name = f"petiole {setup}"
        self._servers, self._setup, self._overrides = servers, setup, settings

    def __enter__(self) -> Petiole:
        with contextlib.ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="petiole-bench-"))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            store, broker = SETUPS[self._setup]
            urls = {
                "store": self._store_url(stack, store),
                "broker": None
                if broker == "embedded"
                else stack.enter_context(getattr(self._servers, broker)()),
            }
            flags = {"data_dir": str(self.folder), "graphs": REFERENCES} | urls | self._overrides
            place = ground(load_settings(flags, environ={}, folder=self.folder))
            stack.enter_context(place)
            open_store(place.store_url).close()
            self.worker = Leashed(
                [sys.executable, "-m", "celery", "-A", "petiole_workers", "worker", "-c", str(PROCESSES), "-l", "WARNING",
                 "--without-gossip", "--without-mingle", "-n", f"bench-{os.getpid()}@%h"],
                log=self.folder / "worker.log",
                env=_environment() | environment(place.settings) | place.environment,
                cwd=self.folder,
            )  # fmt: skip
            stack.callback(self.worker.kill)
            self.client = stack.enter_context(Client(settings=place.settings, graphs=list(GRAPHS.values())))
            wait_until(
                lambda: any(worker.status == "alive" for worker in self.client.workers()),
                60,
                lambda: f"the worker to register; its log ends:\n{self.worker.tail()}",
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def _store_url(self, stack: contextlib.ExitStack, kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{self.folder / 'bench.db'}"
        url: str = stack.enter_context(getattr(self._servers, kind)())
        return url

    def once(self, kind: str) -> float:
        # The store's clock is this machine's: a run's own end is exact where looking for it would cost what is measured.
        began = time.time()
        handle = self.client.submit(GRAPHS[kind], INPUTS[kind]())
        run = handle.wait(600)
        _check(kind, self.client.outcome(run))
        assert run.ended_at is not None
        return run.ended_at - began

    def many(self) -> float:
        began = time.time()
        handles = [self.client.submit(GRAPHS["short"], INPUTS["short"]()) for _ in range(RUNS)]
        runs = [handle.wait(120) for handle in handles]
        for run in runs:
            _check("short", self.client.outcome(run))
        return max(run.ended_at or 0.0 for run in runs) - began

    def stored(self) -> int:
        return stored_bytes(self.client.place.store_url)


def _check(kind: str, state: dict[str, Any]) -> None:
    expected = {"long": LONG_CHAIN, "short": SHORT_CHAIN}.get(kind, 2 * FANS.get(kind, 0))
    if expected:
        assert state["st"]["n"] == expected, (kind, state)


def _environment() -> dict[str, str]:
    """This process's environment without settings of Petiole, and with this repository in reach."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PETIOLE_")}
    paths = [str(ROOT), *(path for path in sys.path if path)]
    return plain | {"PYTHONPATH": os.pathsep.join(paths)}
