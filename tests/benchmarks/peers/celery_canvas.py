"""Plain Celery: chains and a chord with a result backend, default settings. Nothing of it survives a crash in mid-chain."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from celery import chain, group

from tests.benchmarks.peers.celery_app import make_canvas_app
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.servers import Servers, redis_pair, stored_bytes
from tests.benchmarks.workloads import (
    BIG_CHAIN,
    FANS,
    LONG_CHAIN,
    PROCESSES,
    RUNS,
    SHORT_CHAIN,
    big,
    small,
    wide,
)
from tests.processes import Leashed

ROOT = Path(__file__).parents[3]
#: Task, length and first state of each chain.
CHAINS: dict[str, tuple[str, int, Any]] = {
    "long": ("step", LONG_CHAIN, small),
    "short": ("step", SHORT_CHAIN, small),
    "changed": ("edit", BIG_CHAIN, big),
    "unchanged": ("count", BIG_CHAIN, big),
    "wide": ("touch", BIG_CHAIN, wide),
    "wide_once": ("touch", 1, wide),
}


class CeleryCanvas(Peer):
    """Redis as broker and as result backend; the state travels in the messages and stays in every task's result."""

    name = "celery canvas redis+redis"

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def __enter__(self) -> CeleryCanvas:
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="petiole-bench-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            broker, self._backend = stack.enter_context(redis_pair(self._servers))
            urls = {"PETIOLE_BENCH_BROKER": broker, "PETIOLE_BENCH_BACKEND": self._backend}
            paths = os.pathsep.join([str(ROOT), *(path for path in sys.path if path)])
            worker = Leashed(
                [sys.executable, "-m", "celery", "-A", "tests.benchmarks.peers.celery_app", "worker",
                 "-c", str(PROCESSES), "-l", "WARNING", "--without-gossip", "--without-mingle"],
                log=folder / "worker.log",
                env=os.environ | urls | {"PYTHONPATH": paths},
                cwd=folder,
            )  # fmt: skip
            stack.callback(worker.kill)
            self.app = make_canvas_app(broker, self._backend)
            stack.callback(self.app.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def once(self, kind: str) -> float:
        canvas = self._fan(FANS[kind]) if kind in FANS else self._chain(kind)
        began = time.perf_counter()
        result = canvas.apply_async().get(timeout=600)
        took = time.perf_counter() - began
        assert result["n"] == (2 * FANS[kind] if kind in FANS else CHAINS[kind][1])
        return took

    def many(self) -> float:
        began = time.perf_counter()
        results = [self._chain("short").apply_async() for _ in range(RUNS)]
        for result in results:
            assert result.get(timeout=120)["n"] == SHORT_CHAIN
        return time.perf_counter() - began

    def stored(self) -> int:
        return stored_bytes(self._backend)

    def _chain(self, kind: str) -> Any:
        name, length, state = CHAINS[kind]
        task = self.app.tasks[name]
        return chain(task.s(state()), *(task.s() for _ in range(length - 1)), app=self.app)

    def _fan(self, width: int) -> Any:
        step, join = self.app.tasks["step"], self.app.tasks["join"]
        return chain(
            step.s(small()), group((step.s() for _ in range(width)), app=self.app), join.s(), app=self.app
        )
