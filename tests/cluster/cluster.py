"""Workers on one backend, and runs on them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from petiole.client import Client
from petiole_stores.crashpoints import VARIABLE
from petiole_stores.opening import open_store
from petiole_workers.celery.app import context_of, make_app
from petiole_workers.publishing import Publisher
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings, load_settings
from tests.cluster.backends import Backend
from tests.cluster.doubled import SWITCH
from tests.cluster.trip import Trip
from tests.cluster.worker import WorkerProcess

#: Short enough for tests; everything that is derived from them shrinks along.
LEASE, SWEEP, GRACE = 3.0, 0.5, 2.0
GRAPHS = ("tests.cluster.doubled:tour", "tests.graphs:other")


class Cluster:
    """Starts workers, submits runs, and ends every process that it started.

    Parameters
        backend  store and broker
        folder   for logs and for the runs' desks
        graphs   what each worker serves unless told otherwise
        options  settings that differ from the tests' usual ones
    """

    def __init__(
        self,
        backend: Backend,
        folder: Path,
        *,
        graphs: tuple[str, ...] = GRAPHS,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.backend, self.folder = backend, folder
        given: dict[str, object] = {
            "store": backend.store, "broker": backend.broker, "graphs": list(graphs), "data_dir": str(folder),
            "lease": LEASE, "sweep": SWEEP, "grace": GRACE, "concurrency": 2,
            "max_checkpoints": 0, **backend.settings, **(options or {}),
        }  # fmt: skip
        self.settings: Settings = load_settings(given, environ={}, folder=folder)
        self._doubling = folder / "doubling"
        self._numbers = itertools.count(1)
        self.workers: list[WorkerProcess] = []
        open_store(backend.store).close()  # sets up its schema
        self.client = Client(settings=self.settings)

    @property
    def store(self) -> Any:
        return self.client.store

    # ---------------------------------------------------------------- workers

    def start(
        self,
        *,
        crashpoint: str = "",
        name: str = "w",
        wait: bool = True,
        count: int = 1,
        prefix: Sequence[str] = (),
        **options: object,
    ) -> list[WorkerProcess]:
        """Start workers (side by side); ``options`` are settings of theirs, ``prefix`` goes before their command lines."""
        given = {field: getattr(self.settings, field) for field in Settings.__struct_fields__} | options
        settings = load_settings(given, environ={}, folder=self.folder)
        more = {SWITCH: str(self._doubling), **self.backend.environment}
        if crashpoint:
            more[VARIABLE] = crashpoint
        made = [
            WorkerProcess(f"{name}{next(self._numbers)}", settings, self.folder, more, prefix)
            for _ in range(count)
        ]
        self.workers += made
        if wait:
            for worker in made:
                worker.await_registered(self.store)
        return made

    def ensure(self, count: int = 2) -> list[WorkerProcess]:
        """Exactly ``count`` running workers of the usual kind."""
        self.bury()
        for worker in self.workers[count:]:
            worker.stop()
        self.bury()
        if len(self.workers) < count:
            self.start(count=count - len(self.workers))
        return list(self.workers)

    def bury(self) -> None:
        """Forget workers that have ended."""
        self.workers = [worker for worker in self.workers if worker.running()]

    def kill_all(self) -> None:
        """SIGKILL to every worker."""
        for worker in self.workers:
            worker.kill()
        self.workers = []

    def owner(self, pid: int) -> WorkerProcess:
        """The worker that this process belongs to."""
        return next(worker for worker in self.workers if worker.owns(pid))

    def double_messages(self, on: bool) -> None:
        """From now on workers publish every message twice, or once again."""
        if on:
            self._doubling.touch()
        else:
            self._doubling.unlink(missing_ok=True)

    # ---------------------------------------------------------------- runs

    def submit(
        self, *, graph: str = "tour", hold: str = "", parts: int = 4, queue: str | None = None
    ) -> Trip:
        """Submit a run on a desk of its own.

        ``hold`` names a node that waits for the desk's gate; ``queue`` is where the run's start waits.
        """
        desk = self.folder / f"desk{next(self._numbers)}"
        desk.mkdir()
        if queue is None:
            return Trip.submit(self.client, graph, desk, hold=hold, parts=parts)
        settings = msgspec.structs.replace(self.settings, queue=queue)
        with Client(self.store, settings=settings) as client:
            trip = Trip.submit(client, graph, desk, hold=hold, parts=parts)
        return dataclasses.replace(trip, client=self.client, handle=self.client.handle(trip.handle.run_id))

    def messages(self) -> int:
        """How many messages the broker's default queue holds; those that workers have fetched are not among them."""
        return self._publisher.depth(self.settings.queue)

    @cached_property
    def _publisher(self) -> Publisher:
        place = self.client.place
        return context_of(
            make_app(place.settings, Registry(), transport_options=place.transport_options)
        ).publisher

    # ---------------------------------------------------------------- end

    def logs(self, size: int = 9000) -> list[tuple[str, str]]:
        """The ends of the newest logs, those of dead workers too, with the stacks of the living, for a failed test's report."""
        for worker in self.workers:
            worker.dump_stacks()
        files = sorted(self.folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
        return [(file.name, file.read_bytes()[-size:].decode(errors="replace")) for file in files[-4:]]

    def close(self) -> None:
        self.kill_all()
        if "_publisher" in self.__dict__:
            self._publisher.close()
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
