"""What ``petiole doctor`` looks at, one function a check."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import msgspec

from petiole import __version__
from petiole.defaults import Ground, without_password
from petiole.reaching import reach_broker
from petiole_stores.errors import BrokerError, PetioleError
from petiole_stores.opening import open_store
from petiole_stores.records import Worker
from petiole_stores.store import Store
from petiole_workers.registry import load_graph
from petiole_workers.settings import Settings

#: Clocks that differ by more than this make times hard to read, in seconds (leases use the store's clock alone).
SKEW = 2.0
#: Settings that are never shown, and those whose passwords are not.
SECRET, URLS = ("token", "session_secret"), ("store", "broker", "backup_store")
PACKAGES = ("celery", "kombu", "sqlalchemy", "psycopg", "redis", "msgspec")


class Finding(msgspec.Struct, kw_only=True):
    """The outcome of one check."""

    check: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def examine(place: Ground, origins: Mapping[str, str]) -> Iterator[Finding]:
    """Every check in turn; a failed one doesn't stop the others."""
    yield _versions()
    yield from _settings(place.settings, origins)
    store = None
    for finding, opened in _store(place):
        store = opened or store
        yield finding
    yield _broker(place)
    yield from _graphs(place.settings)
    if store is not None:
        try:
            yield from _workers(store, place.settings)
            yield _clock(store)
        except PetioleError as error:
            yield Finding(check="workers", status="fail", detail=str(error))
        finally:
            store.close()


def _versions() -> Finding:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} (missing)")
    return Finding(
        check="versions",
        status="ok",
        detail=f"petiole {__version__}, Python {platform.python_version()}, {', '.join(found)}",
    )


def _settings(settings: Settings, origins: Mapping[str, str]) -> Iterator[Finding]:
    if not origins:
        yield Finding(check="settings", status="ok", detail="all have their defaults")
    for name in sorted(origins):
        value = getattr(settings, name)
        shown = (
            "(set, not shown)"
            if name in SECRET
            else without_password(value)
            if name in URLS and value
            else value
        )
        yield Finding(check=f"setting {name}", status="ok", detail=f"{shown} (from {origins[name]})")


def _store(place: Ground) -> Iterator[tuple[Finding, Store | None]]:
    try:
        store = open_store(place.store_url)
        store.validate()
    except PetioleError as error:
        yield (
            Finding(
                check="store", status="fail", detail=str(error), remedy="petiole db upgrade, or mend --store"
            ),
            None,
        )
        return
    note = "" if store.shared else "; it lives in one process alone, so workers cannot use it"
    status: Literal["ok", "warn"] = "ok" if store.shared else "warn"
    yield (
        Finding(check="store", status=status, detail=f"{store.url.shown} answers, its schema is right{note}"),
        store,
    )
    for line in store.durability():
        yield Finding(check="durability", status="warn", detail=line), None


def _broker(place: Ground) -> Finding:
    try:
        took = reach_broker(place)
    except BrokerError as error:
        return Finding(
            check="broker",
            status="fail",
            detail=str(error),
            remedy="start it, or mend --broker; runs can be submitted all the same",
        )
    if took is None:
        return Finding(
            check="broker",
            status="ok",
            detail=f"{place.broker_shown}; not running, the first worker starts it",
        )
    return Finding(check="broker", status="ok", detail=f"{place.broker_shown} answers in {took:.3f} s")


def _graphs(settings: Settings) -> Iterator[Finding]:
    if not settings.graphs:
        yield Finding(
            check="graphs",
            status="ok",
            detail="none are named here",
            remedy="--graphs, PETIOLE_GRAPHS or [tool.petiole]",
        )
    for reference in settings.graphs:
        try:
            graph = load_graph(reference)
        except PetioleError as error:
            yield Finding(check=f"graph {reference}", status="fail", detail=str(error))
        else:
            nodes = len(graph.definition.nodes)
            yield Finding(check=f"graph {reference}", status="ok", detail=f"{graph.name}, {nodes} nodes")


def _workers(store: Store, settings: Settings) -> Iterator[Finding]:
    workers = store.list_workers()
    alive = [worker for worker in workers if worker.status == "alive"]
    if not alive:
        yield Finding(
            check="workers",
            status="warn",
            detail="none is alive",
            remedy="petiole worker --graphs module:attribute",
        )
    for worker in alive:
        yield Finding(check=f"worker {worker.name}", status="ok", detail=_serves(worker))
    served = {queue for worker in alive for queue in worker.queues}
    for backlog in store.backlogs():
        if backlog.queue not in served and not backlog.queue.startswith("@"):
            yield Finding(
                check=f"queue {backlog.queue}",
                status="warn",
                detail=f"{backlog.ready} tasks wait and no worker that is alive consumes it",
                remedy=f"petiole worker --queues {backlog.queue} …",
            )


def _serves(worker: Worker) -> str:
    return f"{', '.join(sorted(worker.graphs)) or 'no graph'} on {', '.join(worker.queues)}, {worker.pool} x {worker.concurrency}"


def _clock(store: Store) -> Finding:
    # A sweep that has observed the store for no time declares nobody dead; it answers with the store's time.
    began = time.time()
    answered = store.sweep(observed=0.0).now
    skew = answered - (began + time.time()) / 2
    if abs(skew) <= SKEW:
        return Finding(
            check="clock", status="ok", detail=f"this machine and the store differ by {abs(skew):.3f} s"
        )
    return Finding(
        check="clock",
        status="warn",
        detail=f"the store's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
        remedy="let both follow a time server: leases are not affected, times that people read are",
    )
