"""The faults that the nemesis can choose from: one function each, undone by itself after a time where it lasts."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from petiole_stores.crashpoints import POINTS
from tests.servers import OwnServer
from tests.torture.crew import Crew, Place
from tests.torture.ground import Link, TortureGround, restart
from tests.torture.proxy import Direction, Proxy
from tests.torture.served import ECHO, LOSE, SHUFFLE

Undo = Callable[[], object]
#: Operations at whose crash points a busy worker is sure to come by.
OF_WORKERS = ("claim", "node", "finish", "publish", "beat", "sweep", "due", "refill", "release")


@dataclass
class Arena:
    """What faults are done to. ``later`` undoes something after so many seconds."""

    ground: TortureGround
    crew: Crew
    links: list[Link]  #: of workers and clients
    lease: float
    random: random.Random
    later: Callable[[float, Undo], None]
    busy: set[str] = field(default_factory=set)  #: what a lasting fault is at

    def place(self) -> Place:
        return self.random.choice(self.crew.places)

    def proxy(self, part: str = "") -> Proxy | None:
        """A free way between somebody and the store or the broker, if there is one."""
        free = [
            proxy
            for link in self.links
            for proxy in link.proxies
            if proxy.name not in self.busy and proxy.name.endswith(part)
        ]
        return self.random.choice(free) if free else None

    def during(self, seconds: float, what: str, undo: Undo) -> None:
        """Keep something busy for a time, then undo what was done to it."""
        self.busy.add(what)

        def end() -> None:
            try:
                undo()
            finally:
                self.busy.discard(what)

        self.later(seconds, end)

    def background(self, what: str, work: Callable[[], object]) -> None:
        """Do something that takes its time while the nemesis goes on."""
        self.busy.add(what)

        def run() -> None:
            try:
                work()
            finally:
                self.busy.discard(what)

        threading.Thread(target=run, name=what, daemon=True).start()


class Fault(NamedTuple):
    """One kind of fault. ``strike`` gives what it did in words, or ``None`` if there was nothing to do it to."""

    weight: float
    help: str
    strike: Callable[[Arena], str | None]


# -------------------------------------------------------------------- processes


def kill_child(arena: Arena) -> str | None:
    place = arena.place()
    return place.name if arena.crew.kill_child(place) else None


def kill_worker(arena: Arena) -> str | None:
    place = arena.place()
    return place.name if arena.crew.kill(place) else None


def kill_all(arena: Arena) -> str | None:
    killed = [place.name for place in arena.crew.places if arena.crew.kill(place)]
    return " ".join(killed) or None


def kill_sweeper(arena: Arena) -> str | None:
    place = arena.crew.last_swept()
    return place.name if place is not None and arena.crew.kill(place) else None


def terminate(arena: Arena) -> str | None:
    place = arena.place()
    return place.name if arena.crew.terminate(place) else None


def crashpoint(arena: Arena) -> str | None:
    """Kill a worker; the next one in its place dies at a point of the protocol."""
    place = arena.place()
    point = arena.random.choice([point for point in POINTS if point.partition(".")[0] in OF_WORKERS])
    group = arena.random.choice(["", "group"])
    place.crashpoint = f"{point}:{arena.random.randint(1, 20)}::{group}"
    arena.crew.kill(place)
    return f"{place.name} {place.crashpoint}"


def _pause(arena: Arena, least: float, most: float) -> str | None:
    place = arena.place()
    if place.name in arena.busy or (worker := arena.crew.pause(place)) is None:
        return None
    seconds = arena.random.uniform(least, most) * arena.lease
    arena.during(seconds, place.name, lambda: arena.crew.unpause(place, worker))
    return f"{place.name} for {seconds:.1f} s"


def pause_short(arena: Arena) -> str | None:
    return _pause(arena, 0.1, 0.7)


def pause_long(arena: Arena) -> str | None:
    return _pause(arena, 1.2, 2.5)


def clock_jump(arena: Arena) -> str | None:
    place = arena.place()
    seconds = arena.random.choice([-1, 1]) * arena.random.choice([30.0, 600.0, 86400.0])
    place.shift_clock(seconds)
    return f"{place.name} by {seconds:+.0f} s"


# -------------------------------------------------------------------- servers


def _restart(arena: Arena, server: OwnServer | None, gently: bool) -> str | None:
    if server is None or server.kind in arena.busy:
        return None
    pause = arena.random.uniform(0.0, 2.0)
    arena.background(server.kind, lambda: restart(server, gently=gently, pause=pause))
    return f"{server.kind} {'stopped' if gently else 'killed'}, started after {pause:.1f} s"


def broker_restart(arena: Arena) -> str | None:
    if arena.ground.restart_embedded is not None:
        arena.ground.restart_embedded()
        return "embedded"
    return _restart(arena, arena.ground.broker_server, arena.random.random() < 0.3)


def broker_flush(arena: Arena) -> str | None:
    server = arena.ground.broker_server
    if arena.ground.flush_broker is None or (server is not None and server.kind in arena.busy):
        return None
    with suppress(Exception):  # it may be on its way up or down
        arena.ground.flush_broker()
        return "all"
    return None


def store_restart(arena: Arena) -> str | None:
    return _restart(arena, arena.ground.store_server, True)


def store_kill(arena: Arena) -> str | None:
    return _restart(arena, arena.ground.store_server, False)


# -------------------------------------------------------------------- the network


def cut(arena: Arena) -> str | None:
    proxy = arena.proxy()
    return None if proxy is None else f"{proxy.name}, {proxy.cut()} connections"


def _hold(
    arena: Arena, start: Callable[[Proxy], str], least: float, most: float, part: str = ""
) -> str | None:
    """A fault of one proxy that lasts for ``least`` to ``most`` leases."""
    proxy = arena.proxy(part)
    if proxy is None:
        return None
    seconds = arena.random.uniform(least, most) * arena.lease
    what = start(proxy)
    arena.during(seconds, proxy.name, proxy.heal)
    return f"{proxy.name}{what} for {seconds:.1f} s"


def refuse(arena: Arena) -> str | None:
    def start(proxy: Proxy) -> str:
        proxy.refuse()
        return ""

    return _hold(arena, start, 0.2, 2.0)


def stall(arena: Arena) -> str | None:
    def start(proxy: Proxy) -> str:
        proxy.hold("stall")
        return ""

    return _hold(arena, start, 0.2, 2.5)


def blackhole(arena: Arena) -> str | None:
    def start(proxy: Proxy) -> str:
        proxy.hold("swallow")
        return ""

    return _hold(arena, start, 0.2, 2.5)


def oneway(arena: Arena) -> str | None:
    direction: Direction = arena.random.choice(("up", "down"))

    def start(proxy: Proxy) -> str:
        proxy.hold("swallow", [direction])
        return f" {direction}"

    return _hold(arena, start, 0.2, 2.5)


def delay(arena: Arena) -> str | None:
    seconds = arena.random.uniform(0.02, 0.3)

    def start(proxy: Proxy) -> str:
        proxy.slow(seconds)
        return f" by {seconds * 1000:.0f} ms each way"

    return _hold(arena, start, 0.5, 2.0)


def doubt(arena: Arena) -> str | None:
    probability = arena.random.choice([0.05, 0.2, 0.5])

    def start(proxy: Proxy) -> str:
        proxy.put_in_doubt(probability)
        return f" with probability {probability}"

    return _hold(arena, start, 0.3, 2.0, part="-store")


def half_open(arena: Arena) -> str | None:
    proxy = arena.proxy()
    if proxy is None:
        return None
    proxy.hold("swallow")
    arena.during(0.5, proxy.name, lambda: proxy.heal(forget=True))
    return proxy.name


# -------------------------------------------------------------------- messages


def _switch(arena: Arena, name: str) -> str | None:
    file: Path = arena.crew.switches / name
    if name in arena.busy:
        return None
    seconds = arena.random.uniform(0.5, 3.0) * arena.lease
    file.touch()
    arena.during(seconds, name, lambda: file.unlink(missing_ok=True))
    return f"for {seconds:.1f} s"


FAULTS: Mapping[str, Fault] = {
    "child": Fault(6, "SIGKILL to a process of a worker's pool", kill_child),
    "worker": Fault(6, "SIGKILL to a worker with its pool", kill_worker),
    "all": Fault(0.7, "SIGKILL to every worker at once", kill_all),
    "sweeper": Fault(2, "SIGKILL to the worker that swept last", kill_sweeper),
    "crashpoint": Fault(4, "SIGKILL to a worker at a random point of the protocol", crashpoint),
    "terminate": Fault(2, "SIGTERM to a worker: a warm stop", terminate),
    "pause-short": Fault(2, "SIGSTOP to a worker for less than its lease", pause_short),
    "pause-long": Fault(3, "SIGSTOP to a worker for longer than its lease: a zombie", pause_long),
    "clock": Fault(2, "a worker's wall clock jumps", clock_jump),
    "broker-restart": Fault(1, "the broker is killed, or stopped, and started again", broker_restart),
    "broker-flush": Fault(2, "the broker loses all that is in it", broker_flush),
    "store-restart": Fault(0.7, "the store is stopped (Postgres: immediately) and started", store_restart),
    "store-kill": Fault(0.7, "SIGKILL to the store, which is started again", store_kill),
    "cut": Fault(4, "all connections of one process to its store or broker are reset", cut),
    "refuse": Fault(2, "one process can make no connection for a time", refuse),
    "stall": Fault(3, "bytes between one process and a server wait for a time: a partition", stall),
    "blackhole": Fault(2, "bytes are swallowed for a time, then the connections are reset", blackhole),
    "oneway": Fault(2, "the same in one direction alone", oneway),
    "delay": Fault(2, "a slow network", delay),
    "doubt": Fault(5, "requests reach the store, their connections are cut before the answer", doubt),
    "half-open": Fault(1, "connections become silent for good and are never closed", half_open),
    "double": Fault(2, "every message is sent twice for a time", lambda arena: _switch(arena, "double")),
    "shuffle": Fault(
        2, "messages are sent in random order, some late", lambda arena: _switch(arena, SHUFFLE)
    ),
    "echo": Fault(2, "old messages are sent again", lambda arena: _switch(arena, ECHO)),
    "lose": Fault(2, "half of the messages are never sent", lambda arena: _switch(arena, LOSE)),
}
