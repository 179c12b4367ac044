"""The workers of a torture run: a fixed number of places, each of which gets a new worker when its old one is dead."""

from __future__ import annotations

import random
import signal
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from petiole_stores.crashpoints import VARIABLE as CRASHPOINT
from petiole_stores.ids import new_id
from petiole_workers.launch import HOLDER_VARIABLE
from petiole_workers.settings import Settings
from tests.cluster.doubled import SWITCH
from tests.cluster.worker import IMPORTS, WorkerProcess
from tests.processes import alive
from tests.torture.ground import Link, TortureGround
from tests.torture.served import PLACE_VARIABLE, VARIABLE

#: Where ``sitecustomize`` moves the clock.
CLOCK = Path(__file__).with_name("clock")
#: How often dead workers are looked for, in seconds.
LOOK = 0.05
#: What Celery logs of a worker that takes messages.
READY = b" ready."
#: How many in a hundred of those still on their way up are spared: a machine on which no worker ever came up would prove nothing.
SPARED = 80


class Kill(NamedTuple):
    """A death of a worker, or of one process of its pool."""

    at: float  #: seconds since the epoch
    holder: str
    slot: str  #: empty: the whole worker


@dataclass
class Place:
    """Room for one worker at a time."""

    name: str
    link: Link
    clock: Path
    worker: WorkerProcess | None = None
    holder: str = ""
    start_at: float = 0.0  #: monotonic: when the next worker is due
    started_at: float = 0.0  #: monotonic: when the present one was started
    paused: bool = False
    is_up: bool = False  #: the present worker has been seen to take messages
    crashpoint: str = ""  #: for the next worker
    is_expected: bool = False  #: the present worker's end is no surprise
    lock: threading.RLock = field(default_factory=threading.RLock)

    def running(self) -> bool:
        return self.worker is not None and self.worker.running()

    def came_up(self) -> bool:
        """Whether the present worker takes messages, or has at some time."""
        if not self.is_up and self.worker is not None:
            self.is_up = READY in self.worker.log.read_bytes()
        return self.is_up

    def shift_clock(self, seconds: float) -> None:
        """Set how far ahead the worker's wall clock is."""
        with self.clock.open("r+b") as file:
            file.write(struct.pack("d", seconds))


class Crew:
    """Keeps ``count`` workers alive on a ground until it is closed.

    Parameters
        ground, folder  where they work, and where their logs go
        graphs          names of the graphs that they serve
        seed            of the graphs, and of the pauses before a dead worker is replaced
        has_clocks      give the workers clocks that can be moved
    """

    def __init__(
        self,
        ground: TortureGround,
        settings: Settings,
        folder: Path,
        *,
        count: int,
        graphs: int,
        seed: int,
        has_clocks: bool = False,
    ) -> None:
        self._ground, self._settings, self._folder = ground, settings, folder
        self._seed, self._graphs, self._has_clocks = seed, graphs, has_clocks
        self._random = random.Random(f"{seed}/crew")
        self.switches = folder / "switches"
        self.switches.mkdir()
        self.kills: list[Kill] = []
        self.ends: Counter[str] = Counter()  #: of workers that nobody killed, by exit code
        self.started = 0
        self.places = [self._place(f"w{number}") for number in range(1, count + 1)]
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="crew", daemon=True)
        self._keeper.start()

    def _place(self, name: str) -> Place:
        clock = self._folder / f"clock.{name}"
        clock.write_bytes(struct.pack("d", 0.0))
        return Place(name, self._ground.link(name), clock)

    # ---------------------------------------------------------------- keeping them alive

    def _keep(self) -> None:
        while not self._stopping.wait(LOOK):
            for place in self.places:
                with place.lock:
                    self._look(place)

    def _look(self, place: Place) -> None:
        if place.running():
            return
        worker, place.worker = place.worker, None
        now = time.monotonic()
        if worker is not None:
            code = worker.process.wait(5)
            if not place.is_expected:
                self.ends[_reason(code)] += 1
            if not any(kill.holder == place.holder and not kill.slot for kill in self.kills):
                self.kills.append(Kill(time.time(), place.holder, ""))
            place.start_at = now + self._random.uniform(0.0, 3.0)
        if now >= place.start_at:
            self._start(place)

    def _start(self, place: Place) -> None:
        self.started += 1
        place.started_at = time.monotonic()
        place.holder, place.is_expected = new_id(), bool(place.crashpoint)
        place.paused = place.is_up = False
        more = {
            SWITCH: str(self.switches / "double"),
            VARIABLE: f"{self._seed}:{self._graphs}:{self.switches}",
            PLACE_VARIABLE: place.name,
            HOLDER_VARIABLE: place.holder,
            **self._ground.environment,
        }
        if self._has_clocks:
            more |= {"PETIOLE_TEST_CLOCK": str(place.clock), "PYTHONPATH": f"{CLOCK}:{IMPORTS}"}
        if place.crashpoint:
            more[CRASHPOINT], place.crashpoint = place.crashpoint, ""
        settings = msgspec.structs.replace(
            self._settings, store=place.link.store_url, broker=place.link.broker_url
        )
        place.worker = WorkerProcess(f"{place.name}.{self.started}", settings, self._folder, more)

    # ---------------------------------------------------------------- what the nemesis does to them

    def _spares(self, place: Place) -> bool:
        """Whether this worker is let live for now: most are that have not come up yet."""
        return not place.came_up() and self._random.randrange(100) < SPARED

    def kill(self, place: Place) -> bool:
        """SIGKILL to a worker with its pool."""
        with place.lock:
            if place.worker is None or not place.running() or self._spares(place):
                return False
            place.is_expected = True
            self.kills.append(Kill(time.time(), place.holder, ""))
            place.worker.kill()
            return True

    def kill_child(self, place: Place) -> bool:
        """SIGKILL to one process of a worker's pool."""
        with place.lock:
            if place.worker is None or not place.running() or place.paused or self._spares(place):
                return False
            children = [pid for pid in place.worker.children() if alive(pid)]
            if not children:
                return False
            pid = self._random.choice(children)
            self.kills.append(Kill(time.time(), place.holder, str(pid)))
            with suppress(ProcessLookupError):
                place.worker.kill_child(pid)
            return True

    def terminate(self, place: Place) -> bool:
        """SIGTERM to a worker: a warm stop."""
        with place.lock:
            if place.worker is None or not place.running() or place.paused or self._spares(place):
                return False
            place.is_expected = True
            place.worker.process.send(signal.SIGTERM)
            return True

    def pause(self, place: Place) -> WorkerProcess | None:
        """SIGSTOP to a worker with its pool; gives that worker."""
        with place.lock:
            if place.worker is None or not place.running() or place.paused or self._spares(place):
                return None
            place.paused = True
            place.worker.process.pause()
            return place.worker

    def unpause(self, place: Place, worker: WorkerProcess) -> None:
        """SIGCONT, if it is that worker still."""
        with place.lock:
            if place.worker is worker and worker.running():
                with suppress(ProcessLookupError):
                    worker.process.unpause()
                place.paused = False

    def last_swept(self) -> Place | None:
        """The place whose worker swept last."""
        swept = [
            (file.stat().st_mtime, place)
            for place in self.places
            if (file := self.switches / f"swept.{place.name}").exists()
        ]
        return max(swept, key=lambda pair: pair[0])[1] if swept else None

    def old_hands(self, least: float) -> list[str]:
        """The holders' ids of the workers that have run for ``least`` seconds."""
        return [
            place.holder
            for place in self.places
            if place.running() and time.monotonic() - place.started_at >= least
        ]

    # ---------------------------------------------------------------- end

    def calm(self) -> None:
        """Undo what was done to those who live: pauses, clocks, switches."""
        for switch in self.switches.iterdir():
            if not switch.name.startswith("swept."):
                switch.unlink()
        for place in self.places:
            with place.lock:
                place.crashpoint = ""
                place.shift_clock(0.0)
                if place.worker is not None:
                    self.unpause(place, place.worker)

    def dump_stacks(self) -> None:
        for place in self.places:
            if place.worker is not None:
                place.worker.dump_stacks()

    def close(self) -> None:
        self._stopping.set()
        self._keeper.join(20)
        for place in self.places:
            if place.worker is not None:
                place.worker.kill()


def _reason(code: int) -> str:
    """An exit code in words (128 + n stands for signal n)."""
    if code > 128:
        with suppress(ValueError):
            return signal.Signals(code - 128).name
    return f"exit code {code}"
