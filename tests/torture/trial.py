"""One trial: a ground, workers, clients and a nemesis for a time; then calm, and the judgement."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from petiole.client import Client
from petiole_stores.opening import open_store
from petiole_workers.settings import Settings, load_settings
from petiole_workers.spool import FileSpool
from tests.torture.checker import Checker, Verdict
from tests.torture.clients import Clients
from tests.torture.crew import Crew
from tests.torture.ground import TortureGround
from tests.torture.nemesis import Nemesis
from tests.torture.options import Options
from tests.torture.oracle import Oracle
from tests.torture.plans import IN_PROCESS_WAIT
from tests.torture.report import Report
from tests.torture.takeovers import takeover_times

#: As short as the tests of crashes have them.
LEASE, SWEEP, GRACE = 3.0, 0.5, 2.0
#: A worker that has run for so many seconds renews its lease.
SETTLED_IN = 20.0

Say = Callable[[str], None]


class Trial:
    """Runs the options' trial; ``say`` gets a line every ``progress`` seconds."""

    def __init__(self, options: Options, say: Say) -> None:
        self.options, self._say = options, say
        self.folder = _folder(options)

    def run(self) -> Report:
        """Raises UnavailableError when the servers cannot be had."""
        with ExitStack() as stack:
            ground = stack.enter_context(TortureGround(self.options.store, self.options.broker, self.folder))
            report = self._on(ground, stack)
        if self.options.keep is None and report.is_good:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            report.folder = str(self.folder)
            (self.folder / "report.json").write_text(json.dumps(report.document(), indent=1))
        return report

    # ---------------------------------------------------------------- one after the other

    def _on(self, ground: TortureGround, stack: ExitStack) -> Report:
        options = self.options
        oracle = Oracle(options.seed, options.graphs)
        open_store(ground.store_url).close()  # sets up its schema
        settings = self._settings(ground)
        observer = stack.enter_context(Client(settings=settings))
        crew = Crew(
            ground,
            settings,
            self.folder,
            count=options.workers,
            graphs=options.graphs,
            seed=options.seed,
            has_clocks="clock" in options.faults,
        )
        stack.callback(crew.close)
        way = ground.link("clients")
        submitter = stack.enter_context(
            Client(settings=msgspec.structs.replace(settings, store=way.store_url, broker=way.broker_url))
        )
        seconds = options.minutes * 60
        clients = Clients(
            submitter,
            [*oracle.plans.values()],
            self.folder,
            seed=options.seed,
            count=options.threads,
            seconds=seconds * 0.95,
        )
        stack.callback(clients.stop)
        nemesis = Nemesis(
            ground,
            crew,
            ground.links,
            names=options.faults,
            seed=options.seed,
            every=options.every,
            lease=LEASE,
        )
        began = time.monotonic()
        self._watch(began + seconds, lambda: False, clients, nemesis, "faults")
        nemesis.stop()
        _await(lambda: not nemesis.busy, 60)
        ground.heal()
        crew.calm()
        calmed = time.monotonic()
        self._drain(clients, nemesis)
        drained = time.monotonic() - calmed
        verdict = self._judge(observer, oracle, clients, crew)
        return Report(
            options=options,
            verdict=verdict,
            strokes=nemesis.strokes,
            faults=dict(nemesis.counts.most_common()),
            takeovers=takeover_times(verdict.tasks, crew.kills),
            seconds=seconds,
            drained=drained,
            started=crew.started,
            ends=dict(crew.ends),
            unavailable=clients.unavailable,
            cuts=sum(proxy.cuts for link in ground.links for proxy in link.proxies),
            spooled=_spooled(self.folder),
            errors=[*clients.faults, *nemesis.faults],
        )

    def _settings(self, ground: TortureGround) -> Settings:
        given: dict[str, object] = {
            "store": ground.store_url, "broker": ground.broker_url, "data_dir": str(self.folder),
            "graphs": [f"tests.torture.served:g{number}" for number in range(1, self.options.graphs + 1)],
            "lease": LEASE, "sweep": SWEEP, "grace": GRACE, "concurrency": 2, "in_process_wait": IN_PROCESS_WAIT,
            # A thread may be killed under again and again here, and is not to be given up for that.
            "max_crashes": 1000,
            # The whole line of checkpoints is checked, unless it is asked to be trimmed: then often.
            "max_checkpoints": 0, "housekeeping": 2.0,
        }  # fmt: skip
        return load_settings(given | dict(self.options.settings), environ={}, folder=self.folder)

    def _drain(self, clients: Clients, nemesis: Nemesis) -> None:
        """Wait for the threads' ends, as long as they come: a slow machine is not stuck."""
        left = clients.open + 1
        while 0 < clients.open < left:
            left = clients.open
            until = time.monotonic() + self.options.drain
            self._watch(until, lambda fewest=left: clients.open < fewest, clients, nemesis, "drain")

    def _watch(
        self, until: float, is_over: Callable[[], bool], clients: Clients, nemesis: Nemesis, phase: str
    ) -> None:
        """Wait, and say how it goes from time to time."""
        began = said = time.monotonic()
        while (now := time.monotonic()) < until and not is_over():
            if now - said >= self.options.progress:
                said = now
                self._say(
                    f"{phase} {now - began:5.0f} s  submitted {len(clients.tickets)}  "
                    f"threads at work or to come {clients.open}  faults {sum(nemesis.counts.values())}"
                )
            time.sleep(0.1)

    def _judge(self, observer: Client, oracle: Oracle, clients: Clients, crew: Crew) -> Verdict:
        clients.stop()
        checker = Checker(observer, oracle)
        if checker.unsettled(clients.tickets):
            crew.dump_stacks()
        verdict = checker.judge(clients.tickets)
        if not _await(lambda: not checker.mute(crew.old_hands(SETTLED_IN)), 3 * LEASE):
            crew.dump_stacks()
            verdict.mute = checker.mute(crew.old_hands(SETTLED_IN))
        if clients.open and not verdict.stuck:
            verdict.stuck.append(
                f"{clients.open} scripts of clients are not at their end, though all runs are"
            )
        return verdict


def _folder(options: Options) -> Path:
    if options.keep is None:
        return Path(tempfile.mkdtemp(prefix="petiole-torture-"))
    name = "-".join(part.partition(":")[0] for part in (options.store, options.broker))
    folder = options.keep.resolve() / f"{name}-{options.seed}-{time.strftime('%H%M%S')}"
    folder.mkdir(parents=True)
    return folder


def _await(condition: Callable[[], bool], timeout: float) -> bool:
    until = time.monotonic() + timeout
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _spooled(folder: Path) -> int:
    """Entries that wait in the workers' spools, the damaged ones that were set aside among them."""
    spool = folder / "spool"
    waiting = sum(len([*FileSpool(path).entries()]) for path in spool.glob("*.db"))
    return waiting + sum(1 for _ in spool.glob("*.bad"))
