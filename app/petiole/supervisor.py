"""``petiole worker``: keeps Celery workers running. One that dies is said why, has its claims given back, and is started again.

One thread, one queue of events: signals, ends of processes (a waiter each) and changes of files all arrive there, so that
nothing happens between two of them. Workers end with their supervisor, even when it is killed.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from petiole.client.dispatch import Dispatch
from petiole.defaults import Ground
from petiole_stores.ids import new_id
from petiole_workers.launch import (
    EXIT_CONFIGURATION,
    EXIT_UNAVAILABLE,
    HOLDER_VARIABLE,
    SERVER_SUPERVISOR_VARIABLE,
    SUPERVISOR_VARIABLE,
)
from petiole_workers.settings import Settings, environment

#: What the supervisor ends with when a worker's settings or graphs are wrong.
EXIT_USAGE = 2
#: Seconds: the first and the longest wait before a dead worker is started again; how long one must live to be healthy.
FIRST_WAIT, LONGEST_WAIT, HEALTHY = 1.0, 30.0, 60.0
#: What a warm stop may take beyond the worker's own grace, in seconds.
MARGIN = 5.0
#: How often giving back is tried again while the store is away, in seconds.
RETRY = 1.0


class Event(NamedTuple):
    """Something the supervisor has to act on."""

    kind: str  #: "stop", "hurry", "restart" or "ended"
    detail: Any = None  #: of "ended": (worker, holder, exit code); of "restart": why


class WorkerProcess:
    """One Celery worker: the process of its present incarnation, and when the next is due."""

    #: What it is called, and the exit code with which it says that its settings or graphs are wrong.
    noun, hopeless = "worker", EXIT_CONFIGURATION
    #: The one with which it says so of what no change of a graph's file can mend.
    final: int | None = None

    def __init__(self, name: str, place: Ground, events: queue.SimpleQueue[Event]) -> None:
        self.name, self._place, self._events = name, place, events
        self.process: subprocess.Popen[bytes] | None = None
        self.holder = ""
        self.start_at: float | None = 0.0  #: monotonic; ``None``: not to be started
        self.kill_at: float | None = None  #: monotonic; set while it is being stopped
        self.restarting = False
        self._wait = FIRST_WAIT
        self._started = 0.0

    def start(self) -> None:
        """Start a new incarnation, under a holder id of its own. To be called in the main thread (see ``die_with``)."""
        self.holder, self.start_at, self.kill_at, self.restarting = new_id(), None, None, False
        self._started = time.monotonic()
        # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which then stops it warmly.
        self.process = subprocess.Popen(
            self._command(),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=self._watch, args=(self.process, self.holder), daemon=True).start()

    def stop(self) -> None:
        """Ask for a warm stop; after its grace and a margin it is killed."""
        if self.process is None:
            self.start_at = None
        elif self.kill_at is None:
            self.kill_at = time.monotonic() + self._place.settings.grace + MARGIN
            self.process.terminate()

    def restart(self) -> None:
        """A warm stop, then a new incarnation."""
        self.restarting = True
        if self.process is None:
            self.start_at = time.monotonic()
        else:
            self.stop()

    def kill(self) -> None:
        """End the process and its pool at once."""
        if self.process is not None:
            self.kill_at = time.monotonic()
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait_before_start(self) -> float:
        """Set when to start again, and return in how many seconds: longer each time, unless it has lived a while."""
        if time.monotonic() - self._started >= HEALTHY:
            self._wait = FIRST_WAIT
        wait, self._wait = self._wait, min(self._wait * 2, LONGEST_WAIT)
        self.start_at = time.monotonic() + wait
        return wait

    def _command(self) -> list[str]:
        return command(self._place.settings, self.name)

    def _environment(self) -> dict[str, str]:
        own = {HOLDER_VARIABLE: self.holder, SUPERVISOR_VARIABLE: str(os.getpid())}
        # Nodes have nothing to do with the server's log-ins.
        settings = msgspec.structs.replace(self._place.settings, session_secret=None)
        return environment(settings, os.environ) | self._place.environment | own

    def _watch(self, process: subprocess.Popen[bytes], holder: str) -> None:
        self._events.put(Event("ended", (self, holder, process.wait())))


class ServerProcess(WorkerProcess):
    """``petiole serve``, beside workers. It holds no tasks."""

    noun, hopeless = "server", EXIT_USAGE
    final = EXIT_CONFIGURATION

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "petiole", "serve"]

    def _environment(self) -> dict[str, str]:
        own = {SERVER_SUPERVISOR_VARIABLE: str(os.getpid())}
        return environment(self._place.settings, os.environ) | self._place.environment | own


class Supervisor:
    """Runs workers until it is told to stop.

    Parameters
        place    the store and broker in force, held by the caller
        names    one worker process each
        patient  a worker whose graphs cannot be loaded is tried again at the next ``restart`` (``petiole dev``) instead of
                 ending everything
        server   run ``petiole serve`` too
        say      where messages go
    """

    def __init__(
        self,
        place: Ground,
        names: Sequence[str],
        *,
        patient: bool = False,
        server: bool = False,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._place, self._patient, self._say = place, patient, say
        self.workers = [WorkerProcess(name, place, self._events) for name in names]
        if server:
            self.workers.append(ServerProcess("http", place, self._events))
        self._estates = Estates(place, say)
        self._stopping = False
        self._code = 0

    def stop(self) -> None:
        """Stop all workers warmly. Like the two below: from any thread or signal handler."""
        self._events.put(Event("stop"))

    def hurry(self) -> None:
        """Kill what has not stopped yet."""
        self._events.put(Event("hurry"))

    def restart(self, why: str) -> None:
        """Stop all workers warmly and start them anew, with the code as it is then."""
        self._events.put(Event("restart", why))

    def run(self) -> int:
        """Supervise until stopped, and return the exit code: 0, or 2 when a worker's settings or graphs are wrong."""
        with self._signals():
            while not (self._stopping and all(worker.process is None for worker in self.workers)):
                self._due()
                try:
                    event = self._events.get(timeout=self._pause())
                except queue.Empty:
                    continue
                self._act(event)
        self._estates.settle()
        return self._code

    # ---------------------------------------------------------------- events

    def _act(self, event: Event) -> None:
        if event.kind == "ended":
            self._ended(*event.detail)
        elif event.kind == "hurry":
            for worker in self.workers:
                worker.kill()
        elif event.kind == "stop":
            self._stopping = True
            for worker in self.workers:
                worker.stop()
        elif event.kind == "restart" and not self._stopping:
            self._say(f"petiole: {event.detail}: restarting")
            for worker in self.workers:
                worker.restart()

    def _ended(self, worker: WorkerProcess, holder: str, code: int) -> None:
        process, stopped = worker.process, worker.kill_at is not None
        worker.process = None
        if process is not None:
            _end_group(process.pid)
        if code in (worker.hopeless, worker.final) and not stopped:
            self._misconfigured(worker, patient=self._patient and code != worker.final)
            return
        crashed = code != 0 and not stopped
        if (crashed or code < 0) and not isinstance(worker, ServerProcess):
            self._estates.add(holder, crashed)
        if self._stopping:
            return
        if worker.restarting:
            worker.start_at = time.monotonic()
            return
        wait = worker.wait_before_start()
        self._say(f"petiole: {worker.noun} {worker.name} {reason(code)}; it is started again in {wait:g} s")

    def _misconfigured(self, worker: WorkerProcess, *, patient: bool) -> None:
        """It has said itself what is wrong."""
        if patient:
            self._say(f"petiole: {worker.noun} {worker.name} waits for the next change of a file")
            return
        self._say(
            f"petiole: {worker.noun} {worker.name} cannot start with these settings and graphs; giving up"
        )
        self._code = EXIT_USAGE
        self.stop()

    def _due(self) -> None:
        now = time.monotonic()
        self._estates.settle()
        for worker in self.workers:
            if worker.process is None:
                if worker.start_at is not None and worker.start_at <= now and not self._stopping:
                    worker.start()
            elif worker.kill_at is not None and worker.kill_at <= now:
                self._say(f"petiole: {worker.noun} {worker.name} has not stopped in time and is killed")
                worker.kill()
                worker.kill_at = now + MARGIN

    def _pause(self) -> float | None:
        """Seconds until something is due; ``None``: nothing but an event will bring work."""
        times = [worker.start_at if worker.process is None else worker.kill_at for worker in self.workers]
        known = [at - time.monotonic() for at in times if at is not None]
        if self._estates.pending:
            known.append(RETRY)
        return max(0.0, min(known)) if known else None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop, a second SIGINT kills, SIGHUP restarts. Left alone outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(*_: object) -> None:
            if self._stopping:
                self.hurry()
            else:
                self._say("petiole: stopping (once more: at once)")
                self.stop()

        handlers: dict[int, Callable[..., None]] = {
            signal.SIGTERM: lambda *_: self.stop(),
            signal.SIGINT: interrupt,
            signal.SIGHUP: lambda *_: self.restart("SIGHUP"),
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Estates:
    """Gives back what dead workers held; tries again for as long as a lease would hold it anyway."""

    def __init__(self, place: Ground, say: Callable[[str], None]) -> None:
        self._place, self._say = place, say
        self.pending: dict[str, tuple[bool, float]] = {}  # holder -> crashed, until (monotonic)

    def add(self, holder: str, crashed: bool) -> None:
        self.pending[holder] = crashed, time.monotonic() + self._place.settings.lease

    def settle(self) -> None:
        """Release every pending holder's claims and publish the tasks."""
        for holder, (crashed, until) in [*self.pending.items()]:
            try:
                count = self._release(holder, crashed)
            except Exception as error:  # noqa: BLE001 - whatever it is, the workers must go on
                if time.monotonic() < until:
                    return
                self._say(
                    f"petiole: the store could not be told of worker {holder}'s end ({error}); its lease has run out"
                )
            else:
                if count:
                    self._say(f"petiole: {count} tasks of the dead worker are ready for others")
            del self.pending[holder]

    def _release(self, holder: str, crashed: bool) -> int:
        from petiole_stores.opening import open_store
        from petiole_workers.spool import SpoolFolder, send_left

        settings, dispatch = self._place.settings, Dispatch(self._place)
        store = open_store(self._place.store_url, migrate=False)
        try:
            store.grace, store.max_crashes = settings.publish_grace, settings.max_crashes
            dispatch.publish(send_left(SpoolFolder(settings.data_dir), holder, store))
            refs = store.release(holder, crashed=crashed, final=True)
            dispatch.publish(refs)
            return len(refs)
        finally:
            dispatch.close()
            store.close()


def command(settings: Settings, name: str) -> list[str]:
    """The command line of a worker."""
    line = [sys.executable, "-m", "celery", "-A", "petiole_workers", "--quiet", "worker"]
    line += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    line += ["-P", settings.pool, "-n", f"{name}@%h", "--loglevel", settings.log_level]
    if settings.concurrency is not None:
        line += ["-c", str(settings.concurrency)]
    if settings.max_tasks_per_child is not None:
        line += ["--max-tasks-per-child", str(settings.max_tasks_per_child)]
    return line


def reason(code: int) -> str:
    """Why a process ended, in words."""
    if code == 0:
        return "has stopped without being asked by its supervisor"
    if code == EXIT_UNAVAILABLE:
        return "could not reach what it needs (see above)"
    if code > 0:
        return f"died with exit code {code} (see its log above)"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", by somebody or by the kernel for want of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def _end_group(pid: int) -> None:
    """What is left of a dead worker's pool."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
