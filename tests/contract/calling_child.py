"""A process that makes calls on a SQLite or file store and kills itself in the middle of one, or right after it.

``python -m tests.contract.calling_child URL`` reads one JSON object a line: ``call`` (Python), ``now`` (the store's time)
and ``die``: the number of the SQL statement, from 0, before which it sends itself SIGKILL; -1: when the call is done and
before it says so; ``null``: not at all. It answers with one line of JSON for each call.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import sqlite3
import sys
from typing import Any

from petiole_stores import records
from petiole_stores.checkpoint import Checkpoint
from petiole_stores.conformance.scene import plain
from petiole_stores.errors import ConflictError
from petiole_stores.opening import open_store
from petiole_stores.store import Store
from tests.contract.calls import UNORDERED, ordered
from tests.contract.stage import MAX_CRASHES


class Fuse:
    """Counts SQL statements down, and kills this process."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self, statement: str) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.left is not None:
            self.left -= 1


def watch_statements(store: Any, fuse: Fuse) -> None:
    """Let every statement of the store's connections burn the fuse."""
    connections = store.connections
    opened = connections.open

    def open_watched() -> sqlite3.Connection:
        db: sqlite3.Connection = opened()
        db.set_trace_callback(fuse.burn)
        return db

    connections.open = open_watched
    connections.close()


def answer_to(store: Store, call: str, method: str) -> Any:
    names = {name: getattr(records, name) for name in dir(records)}
    names |= {"store": store, "Checkpoint": Checkpoint, "datetime": datetime}
    try:
        found = eval(call, names)
    except ConflictError:
        return "ConflictError"
    return ordered(plain(found), loose=method in UNORDERED)


def main(url: str) -> None:
    store = open_store(url)
    store.max_crashes = MAX_CRASHES
    fuse = Fuse()
    watch_statements(store, fuse)
    print('"ready"', flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        store.clock = lambda now=asked["now"]: now  # type: ignore[misc]
        fuse.left = asked["die"] if asked["die"] is not None and asked["die"] >= 0 else None
        answer = json.dumps(answer_to(store, asked["call"], asked["method"]))
        fuse.left = None
        if asked["die"] == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        print(answer, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
