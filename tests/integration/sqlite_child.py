"""A process that works on a SQLite or file store and may kill itself within any statement of its transaction.

``python sqlite_child.py URL chain THREAD STEPS``        run a chain of so many supersteps, printing each as it ends
``python sqlite_child.py URL die STATEMENT [CALL]``      make one call on what ``prepare`` made (``CALLS``; a finish);
                                                         SIGKILL before the given statement (from 0); exit 0 when
                                                         there were fewer
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable

from petiole_stores.opening import open_store
from petiole_stores.records import Blob, NewCheckpoint, NewRun, NewTask, Outcome, Settle, Worker
from petiole_stores.serde import digest_document
from petiole_stores.store import Store

STATE = '{"x": "ü", "n": 1.50}'


def new_run(name: str, thread: str) -> NewRun:
    start = NewTask(task_id=f"{name}-0", path="start", node="start", kind="advance")
    return NewRun(run_id=name, thread_id=thread, graph="g", start=start)


def settled(
    name: str, step: int, parent: str | None, width: int = 1, blobs: tuple[Blob, ...] = ()
) -> Outcome:
    """The outcome of a run's step: one checkpoint, and so many tasks after it."""
    checkpoint = NewCheckpoint(
        checkpoint_id=f"{name}-c{step}",
        parent_id=parent,
        step=step,
        source="loop",
        node_names=["n"],
        state=STATE,
        digest=digest_document(STATE),
    )
    tasks = [
        NewTask(task_id=f"{name}-{step + 1}" + (f".{n}" if n else ""), path=f"p{n}", node="n")
        for n in range(width)
    ]
    settle = Settle(checkpoints=[checkpoint], tasks=tasks)
    return Outcome(
        task_id=f"{name}-{step}", token=f"{name}-k{step}", ending="done", settle=settle, blobs=list(blobs)
    )


def prepare(store: Store) -> None:
    """A run whose first task is claimed."""
    store.beat(Worker(worker_id="w", name="w"))
    store.submit([new_run("r", "t")])
    store.claim("w", "0", [("r-0", "r-k0")])


def prepared() -> Outcome:
    """What finishes that task: a superstep of three tasks, and a blob."""
    return settled("r", 0, None, 3, (Blob(digest="ab", codec="raw", data=b"blob"),))


def chain(store: Store, thread: str, steps: int) -> None:
    holder = f"w-{thread}"
    store.beat(Worker(worker_id=holder, name=holder))
    store.submit([new_run(thread, thread)])
    parent = None
    for step in range(steps):
        (claimed,) = store.claim(holder, "0", [(f"{thread}-{step}", f"{thread}-k{step}")])
        (answer,) = store.finish(holder, "0", [settled(thread, step, parent)])
        assert (claimed.result, answer.result) == ("committed", "committed"), (claimed, answer)
        parent = f"{thread}-c{step}"
        print(step, flush=True)


def finish(store: Store) -> None:
    (answer,) = store.finish("w", "0", [prepared()])
    assert answer.result == "committed", answer


def pay(store: Store) -> None:
    """Finish the task in a transaction that changes a table ``paid``."""
    with store.transaction() as transaction:
        transaction.connection.execute("INSERT INTO paid VALUES (7)")
        (answer,) = transaction.finish("w", "0", [prepared()])
        assert answer.result == "committed", answer


CALLS: dict[str, Callable[[Store], object]] = {
    "finish": finish,
    "pay": pay,
    "trim": lambda store: store.trim("t", 1),
    "delete_thread": lambda store: store.delete_thread("t"),
}


def die(store: Store, statement: int, call: str) -> None:
    left = statement

    def count(text: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def traced() -> sqlite3.Connection:
        db: sqlite3.Connection = opened()
        db.set_trace_callback(count)
        return db

    connections = store.connections  # type: ignore[attr-defined]
    pool = connections._pool()
    while pool.idle:
        pool.idle.pop().close()
    opened = connections.open
    connections.open = traced
    CALLS[call](store)


def main(url: str, action: str, *arguments: str) -> None:
    # An older SQLite or a lost answer would show as an exception, which the parent sees as exit code 1.
    with open_store(url, migrate=False) as store:
        if action == "chain":
            chain(store, arguments[0], int(arguments[1]))
        else:
            die(store, int(arguments[0]), arguments[1] if len(arguments) > 1 else "finish")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except sqlite3.Error as error:
        sys.exit(f"untranslated: {error!r}")
