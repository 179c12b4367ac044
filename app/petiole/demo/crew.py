"""The demo's workers: real ``petiole worker`` processes, one of which is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from petiole_stores.errors import PetioleError
from petiole_stores.store import Store


@dataclass
class DemoWorker:
    """One worker process (with its pool, in a process group of its own)."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    killed_at: float | None = None

    def kill(self) -> None:
        """SIGKILL to the whole group: supervisor, Celery and pool, with no time to say goodbye."""
        self.killed_at = time.time()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """A warm stop; a kill where that takes long."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start_worker(name: str, *, graph: str, environment: dict[str, str], folder: Path) -> DemoWorker:
    """Start ``petiole worker`` with one pool process."""
    log = folder / f"{name}.log"
    command = [
        sys.executable,
        "-m",
        "petiole",
        "worker",
        "--graphs",
        graph,
        "--concurrency",
        "1",
        "--name",
        name,
    ]
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return DemoWorker(name, process, log)


def wait_for(workers: list[DemoWorker], store: Store, timeout: float = 60.0) -> None:
    """Wait until every worker is registered in the store. Raises PetioleError with the log of one that fails."""
    until = time.monotonic() + timeout
    while True:
        registered = {short_name(w.name) for w in store.list_workers() if w.status == "alive"}
        if registered >= {worker.name for worker in workers}:
            return
        for worker in workers:
            if worker.process.poll() is not None:
                raise PetioleError(f"worker {worker.name} ended at once:\n{_tail(worker.log)}")
        if time.monotonic() > until:
            missing = next(w for w in workers if w.name not in registered)
            raise PetioleError(
                f"worker {missing.name} did not register in {timeout:g} s:\n{_tail(missing.log)}"
            )
        time.sleep(0.05)


def short_name(name: str) -> str:
    """A worker's name without its host."""
    return name.partition("@")[0]


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
