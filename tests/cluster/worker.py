"""One worker of a test: a real Celery worker process with its pool, in a process group of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from petiole.supervisor import command
from petiole_stores.records import Worker
from petiole_stores.store import Store
from petiole_workers.settings import Settings, environment
from tests.cluster.doubled import STACKS
from tests.processes import Leashed, alive
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
#: Where workers find Petiole and the tests' graphs.
IMPORTS = os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores", "."))


class WorkerProcess:
    """Started at once; ``await_registered`` waits until it takes messages. ``prefix`` goes before its command line."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        folder: Path,
        more: Mapping[str, str],
        prefix: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
        self.process = Leashed(
            [*prefix, *command(settings, name)],
            log=self.log,
            env=environment(settings, base) | {"PYTHONPATH": IMPORTS, "PYTHONFAULTHANDLER": "1"} | dict(more),
            cwd=folder,
        )

    @property
    def pid(self) -> int:
        """The main process's id, which is also in the ledger's row of this worker."""
        return self.process.pid

    def running(self) -> bool:
        return self.process.running()

    def record(self, store: Store) -> Worker | None:
        """What the ledger knows of this worker."""
        return next((worker for worker in store.list_workers() if worker.pid == self.pid), None)

    def await_registered(self, store: Store, timeout: float = 30.0) -> None:
        """Wait until the ledger knows it as alive. Fails with its log when it dies instead."""

        def registered() -> bool:
            if not self.running():
                raise RuntimeError(f"worker {self.name} ended at once; its log ends:\n{self.process.tail()}")
            found = self.record(store)
            return found is not None and found.status == "alive"

        wait_until(registered, timeout, lambda: f"worker {self.name}; its log ends:\n{self.process.tail()}")

    def children(self) -> list[int]:
        """Process ids of the pool's processes."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except OSError:
            return []
        return [int(pid) for pid in text.split() if alive(int(pid))]

    def owns(self, pid: int) -> bool:
        """Is this process one of this worker's?"""
        return pid == self.pid or pid in self.children()

    def dump_stacks(self) -> None:
        """Let each of its processes write the stacks of its threads into the log."""
        for pid in (self.pid, *self.children()) if self.running() else ():
            with suppress(ProcessLookupError):
                os.kill(pid, STACKS)
        with suppress(AssertionError):
            wait_until(lambda: "most recent call first" in self.process.tail(9000), 2)

    def kill_child(self, pid: int) -> None:
        """SIGKILL to one process of the pool."""
        assert pid != self.pid
        os.kill(pid, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to main process and pool at once."""
        self.process.kill()

    def warm_stop(self) -> None:
        """SIGTERM to the main process; does not wait."""
        self.process.send(signal.SIGTERM)

    def terminate_group(self) -> None:
        """SIGTERM to the main process and its pool alike, as service managers send it to a whole group."""
        for pid in (*self.children(), self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def stop(self, timeout: float = 15.0) -> int:
        """A warm stop, waited for; SIGKILL after ``timeout`` seconds. Gives the exit code."""
        return self.process.stop(timeout)
