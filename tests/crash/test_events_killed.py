"""A process dies while it writes what nodes said: a batch is there whole or not at all, and writing it again is harmless."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from petiole_stores import crashpoints
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.events import NewEvent
from petiole_stores.opening import open_store

BATCH = [NewEvent(f"e{n}", "custom", b"%d" % n) for n in range(3)]
WRITER = """
import sys
from petiole_stores.opening import open_store
from tests.crash.test_events_killed import CALLS
from tests.crash.test_items_killed import at_statement
store = open_store(sys.argv[1])
at_statement(store, int(sys.argv[3]))
CALLS[sys.argv[2]](store)
"""
CALLS = {
    "append_events": lambda store: store.append_events("t", "r", BATCH),
    "purge_events": lambda store: store.purge_events(0.0),
}


def die(url: str, call: str, *, point: str = "", statement: int = -1) -> bool:
    """Make the call in a process of its own; whether it died of it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if point:
        environment[crashpoints.VARIABLE] = point
    command = [sys.executable, "-c", WRITER, url, call, str(statement)]
    done = subprocess.run(command, env=environment, check=False, start_new_session=True)
    assert done.returncode in (0, -signal.SIGKILL)
    return done.returncode != 0


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/store.db"
    with open_store(url) as store:
        store.save(Checkpoint(id="c", thread_id="t", state={}))
        store.clock = lambda: 1000.0
        store.append_events("t", "r", [NewEvent("old", "custom", b"old")])
    return url


def told(url: str) -> list[str]:
    with open_store(url) as store:
        found = store.read_events("t")
    assert (
        [event.seq for event in found] == [*range(found[0].seq, found[0].seq + len(found))] if found else True
    )
    return [event.event_id for event in found]


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(
    ("call", "after"), [("append_events", ["old", "e0", "e1", "e2"]), ("purge_events", [])]
)
def test_a_death_beside_the_call(url: str, call: str, after: list[str], side: str) -> None:
    assert die(url, call, point=f"{call}.{side}")
    assert told(url) == (["old"] if side == "before" else after)
    assert not die(url, call)
    assert told(url) == after


def test_a_death_within_a_batch(url: str) -> None:
    whole = ["old", "e0", "e1", "e2"]
    deaths = 0
    while told(url) == ["old"] and die(url, "append_events", statement=deaths):
        deaths += 1
        assert told(url) in (["old"], whole)
    assert deaths >= 5, "BEGIN, two looks, three events, COMMIT"
    assert told(url) == whole
