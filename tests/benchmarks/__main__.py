"""``python -m tests.benchmarks``: peers in interleaved rounds, and a table of ratios. docs/performance.md explains it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks.hops import round_trips
from tests.benchmarks.http import measure as measure_http
from tests.benchmarks.peers.celery_canvas import CeleryCanvas
from tests.benchmarks.peers.peer import Factory
from tests.benchmarks.peers.petiole import SETUPS, Petiole
from tests.benchmarks.reads import RUNS, TASKS
from tests.benchmarks.reads import measure as measure_reads
from tests.benchmarks.report import table
from tests.benchmarks.servers import Servers
from tests.benchmarks.workloads import WORKLOADS

RIVALS = ("celery", "langgraph")
#: What ``--only`` takes beside the workloads: how long looks at much take.
READS = "reads"
#: The same for how much one HTTP server takes.
HTTP = "http"
BESIDE = (READS, HTTP)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    only = options.only.split(",")
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with Servers() as servers:
        peers, names = _peers(servers, options) if not set(only) <= set(BESIDE) else ({}, [])
        print(_machine(), flush=True)
        for number in range(1, options.rounds + 1):
            for name, factory in peers.items():
                began = time.monotonic()
                with factory() as peer:
                    taken = peer.measure(only)
                for key, value in taken.items():
                    figures[name][key].append(value)
                shown = "  ".join(f"{key} {value:.4g}" for key, value in taken.items())
                print(f"round {number}  {name:28}{time.monotonic() - began:5.1f} s  {shown}", flush=True)
        if peers:
            print(table(figures, names))
        stores = list(dict.fromkeys(SETUPS[setup][0] for setup in options.stores if setup in SETUPS))
        reads = _reads(servers, stores) if READS in only else {}
        http = _http(servers, stores) if HTTP in only else {}
        trips: dict[str, dict[str, float]] = {}
        for store in stores if peers else []:
            if store == "sqlite":
                continue
            with getattr(servers, store)() as url:
                trips[store] = round_trips(url)
            counts = "  ".join(f"{kind} {count:.2f}" for kind, count in trips[store].items())
            print(f"\nstore round trips for each node, start and end included, {store}: {counts}")
    if options.json:
        document = {
            "machine": _machine(),
            "figures": figures,
            "round_trips": trips,
            "reads": reads,
            "http": http,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def _reads(servers: Servers, stores: Sequence[str]) -> dict[str, dict[str, float]]:
    """Milliseconds of each look, by store."""
    found: dict[str, dict[str, float]] = {}
    for store in stores:
        with _place(servers, store) as url:
            found[store] = measure_reads(url)
        print(f"\nlooks at {RUNS:,} runs and {TASKS:,} tasks, {store} (ms)")
        for name, taken in found[store].items():
            print(f"  {name:32}{taken:8.1f}", flush=True)
    return found


def _http(servers: Servers, stores: Sequence[str]) -> dict[str, dict[str, float]]:
    """What one HTTP server takes, by store."""
    found: dict[str, dict[str, float]] = {}
    for store in stores:
        with _place(servers, store) as url:
            found[store] = measure_http(url)
        print(f"\none HTTP server, {store}")
        for name, value in found[store].items():
            print(f"  {name:56}{value:10.1f}", flush=True)
    return found


@contextlib.contextmanager
def _place(servers: Servers, store: str) -> Iterator[str]:
    """The URL of an empty store."""
    if store == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{folder}/reads.db"
    else:
        with getattr(servers, store)() as url:
            yield url


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        default=",".join(WORKLOADS),
        metavar="W1,W2",
        help=f"workloads (default: all), or {', '.join(BESIDE)}",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each peer is measured (default: 3)")
    parser.add_argument(
        "--stores", default="postgres+redis,postgres+rabbitmq,redis+redis,sqlite+embedded", metavar="STORE+BROKER,…",
        help="Petiole's set-ups (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--rivals", default=",".join(RIVALS), help="other peers (default: %(default)s)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of Petiole"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args(arguments)
    options.stores = [setup for setup in options.stores.split(",") if setup]
    for name, known, given in (
        ("--only", (*WORKLOADS, *BESIDE), options.only.split(",")),
        ("--stores", tuple(SETUPS), options.stores),
        ("--rivals", RIVALS, [rival for rival in options.rivals.split(",") if rival]),
    ):
        for value in given:
            if value not in known:
                parser.error(f"{name}: {value!r} is not one of {', '.join(known)}")
    return options


def _peers(servers: Servers, options: argparse.Namespace) -> tuple[dict[str, Factory], list[str]]:
    """Factories by the peers' names, and which of them are the rivals."""
    peers: dict[str, Factory] = {}
    settings = dict(pair.split("=", 1) for pair in options.set)
    for setup in options.stores:
        peers[f"petiole {setup}"] = lambda setup=setup: Petiole(servers, setup, **settings)  # type: ignore[misc]
    rivals: list[str] = []
    if "celery" in options.rivals:
        rivals.append(CeleryCanvas.name)
        peers[CeleryCanvas.name] = lambda: CeleryCanvas(servers)
    if "langgraph" in options.rivals:
        if find_spec("langgraph") is None:
            print("langgraph is not installed (dependency group `bench`): left out", file=sys.stderr)
        else:
            from tests.benchmarks.peers.langgraph_pg import LangGraphPostgres

            rivals.append(LangGraphPostgres.name)
            peers[LangGraphPostgres.name] = lambda: LangGraphPostgres(servers)
    return peers, rivals


def _machine() -> str:
    packages = ["celery", "kombu", "redis", "psycopg", "langgraph", "langgraph-checkpoint-postgres"]
    found = []
    for package in packages:
        with contextlib.suppress(ImportError):
            found.append(f"{package} {version(package)}")
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {', '.join(found)}"


if __name__ == "__main__":
    sys.exit(main())
