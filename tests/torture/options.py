"""The command line of the harness."""

from __future__ import annotations

import argparse
import random
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path

from petiole_workers.settings import Settings
from tests.torture.faults import FAULTS
from tests.torture.ground import BROKERS, STORES

#: What is run when neither store nor broker is named.
PAIRS = (("postgresql", "redis"), ("postgresql", "rabbitmq"), ("redis", "redis"), ("sqlite", "embedded"))
#: Stores that take this machine's wall clock for the time: a worker whose clock jumps is wrong about leases there.
ON_WALL_CLOCK = ("sqlite", "file")
#: Threads of work begun in a minute unless ``--threads`` says otherwise.
PACE = 60


@dataclass(frozen=True)
class Options:
    """What to do to one pair of store and broker."""

    store: str
    broker: str
    workers: int
    threads: int
    minutes: float
    seed: int
    faults: tuple[str, ...]
    every: float
    graphs: int
    drain: float
    settings: tuple[tuple[str, str], ...] = ()  #: of the workers and clients, beside the harness's own
    keep: Path | None = None
    progress: float = 10.0

    def command(self) -> str:
        """The command that does the same again."""
        parts = [
            "python", "-m", "tests.torture", "--store", self.store, "--broker", self.broker,
            "--workers", str(self.workers), "--threads", str(self.threads), "--minutes", f"{self.minutes:g}",
            "--seed", str(self.seed), "--every", f"{self.every:g}", "--graphs", str(self.graphs),
            "--drain", f"{self.drain:g}", "--faults", ",".join(self.faults) or "none",
        ]  # fmt: skip
        for name, value in self.settings:
            parts += ["--set", f"{name}={value}"]
        return shlex.join(parts)


def faults_for(store: str, broker: str, chosen: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The faults that make sense on this pair, of those that were chosen."""
    names = [*FAULTS] if chosen is None else [*chosen]
    if store.partition(":")[0] in ON_WALL_CLOCK:
        names = [name for name in names if name not in ("clock", "store-restart", "store-kill", "doubt")]
    if "://" in store:
        names = [name for name in names if name not in ("store-restart", "store-kill")]
    if "://" in broker:
        names = [name for name in names if name not in ("broker-restart", "broker-flush")]
    if store.partition(":")[0] in ON_WALL_CLOCK and broker == "embedded":
        names = [name for name in names if name not in NETWORK]
    return tuple(names)


#: Faults of a TCP connection.
NETWORK = ("cut", "refuse", "stall", "blackhole", "oneway", "delay", "doubt", "half-open")


def parse(arguments: list[str] | None = None) -> tuple[list[Options], Path | None]:
    """One Options a pair, and where to write the JSON report."""
    parser = _parser()
    given = parser.parse_args(arguments)
    for name, value, known in (("--store", given.store, STORES), ("--broker", given.broker, BROKERS)):
        if value is not None and value not in known and "://" not in value:
            parser.error(f"{name}: {value!r} is neither a URL nor one of {', '.join(known)}")
    chosen = None if given.faults is None else tuple(filter(None, given.faults.split(",")))
    if chosen == ("none",):
        chosen = ()
    for name in chosen or ():
        if name not in FAULTS:
            parser.error(f"--faults: {name!r} is not one of {', '.join(FAULTS)}")
    for text in given.set:
        if text.partition("=")[0] not in Settings.__struct_fields__ or "=" not in text:
            parser.error(f"--set: {text!r} is not NAME=VALUE with the name of a setting")
    for name in ("workers", "minutes", "every", "graphs"):
        if getattr(given, name) <= 0:
            parser.error(f"--{name}: {getattr(given, name)} is not above 0")
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    pairs = [
        (store, broker)
        for store, broker in PAIRS
        if given.store in (None, store) and given.broker in (None, broker)
    ]
    if given.store is not None and given.broker is not None:
        pairs = [(given.store, given.broker)]
    elif not pairs:
        pairs = [(given.store or "sqlite", given.broker or "embedded")]
    return [
        Options(
            store=store,
            broker=broker,
            workers=given.workers,
            threads=given.threads or max(1, round(given.minutes * PACE)),
            minutes=given.minutes,
            seed=seed,
            faults=faults_for(store, broker, chosen),
            every=given.every,
            graphs=given.graphs,
            drain=given.drain,
            settings=tuple((name, value) for name, _, value in (text.partition("=") for text in given.set)),
            keep=given.keep,
        )
        for store, broker in pairs
    ], given.json


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {name:15}{fault.help}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.dedent(
            """\
            Run random graphs on real workers while a nemesis kills, pauses, cuts off and confuses them, and check that
            nothing is lost: every thread ends, in the state that its graph comes to undisturbed, and every output is
            committed once. Private servers are started; nothing that runs already is touched.

            Without --store and --broker the four usual pairs are run one after the other.
            """
        ),
        epilog=textwrap.dedent(
            """\
            examples:
              python -m tests.torture --minutes 1                                the four pairs, a minute each
              python -m tests.torture --store redis --broker redis --seed 7      one pair, the faults of seed 7
              python -m tests.torture --faults worker,child,doubt --every 0.5    only these, twice a second
              python -m tests.torture --faults none                              an undisturbed run, to compare with
              python -m tests.torture --set durability=interval:2                another setting for the workers

            faults:
            """
        )
        + faults
        + textwrap.dedent(
            """

            A seed fixes graphs, inputs, what clients do, and the order and times of the faults; how the processes'
            steps interleave is the machine's. The exit code is 0 only if nothing was lost, stuck, wrong or committed
            twice, 1 if something was, 2 if it could not be run.
            """
        ),
    )
    parser.add_argument("--store", metavar="NAME|URL", help=f"{', '.join(STORES)}, or a URL of an empty one")
    parser.add_argument("--broker", metavar="NAME|URL", help=f"{', '.join(BROKERS)}, or a URL")
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="worker processes that are kept alive (2), of 2 slots each",
    )
    parser.add_argument("--threads", type=int, metavar="M", help=f"threads of work in all ({PACE} a minute)")
    parser.add_argument(
        "--minutes", type=float, default=2.0, metavar="T", help="how long to strike, on each pair (2)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="S", help="fixes all that is random (a random one, printed)"
    )
    parser.add_argument(
        "--faults", metavar="A,B,…", help="only these, or none (all that make sense on the pair)"
    )
    parser.add_argument(
        "--every", type=float, default=1.5, metavar="SEC", help="seconds between faults on average (1.5)"
    )
    parser.add_argument("--graphs", type=int, default=12, metavar="N", help="how many random graphs (12)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting, such as max_checkpoints=3",
    )
    parser.add_argument(
        "--drain",
        type=float,
        default=120.0,
        metavar="SEC",
        help="after the faults, how long to wait for the next thread to end (120)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep logs, desks and the list of faults there"
    )
    return parser
