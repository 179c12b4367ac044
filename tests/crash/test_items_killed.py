"""A process dies while it writes items: a batch is there whole or not at all, and writing it again is harmless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petiole_stores import crashpoints
from petiole_stores.items import NewItem
from petiole_stores.opening import open_store
from petiole_stores.store import Store

BATCH = [NewItem(("n",), f"k{n}", str(n)) for n in range(3)]
WRITER = """
import sys
from petiole_stores.items import NewItem
from petiole_stores.opening import open_store
from tests.crash.test_items_killed import CALLS, at_statement
store = open_store(sys.argv[1])
at_statement(store, int(sys.argv[3]))
CALLS[sys.argv[2]](store)
"""
CALLS = {
    "put_items": lambda store: store.put_items(BATCH),
    "remove_items": lambda store: store.remove_items(("n",)),
    "purge_items": lambda store: store.purge_items(),
}


def at_statement(store: Store, number: int) -> None:
    """Let the process kill itself before the store's SQL statement of this number, from 0; -1: at none."""
    connections, left = store.connections, [number]  # type: ignore[attr-defined]
    opened = connections.open

    def burn(statement: str) -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    def open_watched() -> object:
        db = opened()
        db.set_trace_callback(burn)
        return db

    if number >= 0:
        connections.close()
        connections.open = open_watched


def die(url: str, call: str, *, point: str = "", statement: int = -1) -> bool:
    """Make the call in a process of its own; whether it died of it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if point:
        environment[crashpoints.VARIABLE] = point
    done = subprocess.run(
        [sys.executable, "-c", WRITER, url, call, str(statement)],
        env=environment,
        check=False,
        start_new_session=True,
    )
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/store.db"
    with open_store(url) as store:
        store.clock = lambda: 1000.0
        store.put_items([NewItem(("n",), "old", "1", ttl=1.0)])
    return url


def keys(url: str) -> list[str]:
    """Every item that the store has, whether its time is over or not."""
    with open_store(url) as store:
        store.clock = lambda: 0.0
        return sorted(item.key for item in store.search_items())


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(
    ("call", "before", "after"),
    [
        ("put_items", ["old"], ["k0", "k1", "k2", "old"]),
        ("remove_items", ["old"], []),
        ("purge_items", ["old"], []),
    ],
)
def test_a_death_beside_the_call(url: str, call: str, before: list[str], after: list[str], side: str) -> None:
    assert die(url, call, point=f"{call}.{side}")
    assert keys(url) == (before if side == "before" else after)
    assert not die(url, call)
    assert keys(url) == after


def test_a_death_within_a_batch(url: str) -> None:
    deaths = 0
    while die(url, "put_items", statement=deaths):
        deaths += 1
        assert keys(url) in (["old"], ["k0", "k1", "k2", "old"])
        with open_store(url) as store:
            store.put_items([NewItem(item.namespace, item.key, None) for item in BATCH])
    assert deaths >= 5, "BEGIN, three puts, COMMIT"
