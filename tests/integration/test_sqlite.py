"""SQLite by itself: several processes, crashes within a transaction, forks, a busy file, its schema and its plans."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from petiole_stores.conformance.scene import snapshot
from petiole_stores.errors import (
    ConfigurationError,
    CorruptionError,
    SchemaError,
    StoreError,
    StoreUnavailableError,
    UnstorableError,
)
from petiole_stores.opening import open_store
from petiole_stores.records import RunFilter, Worker
from petiole_stores.sql import migrate
from petiole_stores.sql.schema import metadata
from petiole_stores.sql.sqlite import SQLiteStore
from petiole_stores.store import Store
from tests.integration.sqlite_child import chain, new_run, prepare, prepared, settled

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("sqlite_child.py")
ENV = os.environ | {
    "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores", "."))
}


@pytest.fixture(params=["sqlite", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db" if request.param == "sqlite" else f"file://{tmp_path}/files"


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[SQLiteStore]:
    with open_store(f"sqlite:///{tmp_path}/store.db?busy_timeout=0.1") as store:
        assert isinstance(store, SQLiteStore)
        yield store


def start(url: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(CHILD), url, *map(str, arguments)]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True)


def assert_whole(store: Store, thread: str, *, width: int = 1) -> int:
    """Nothing of a thread is half written: returns how many supersteps it has."""
    store.validate()
    runs = store.list_runs(RunFilter(thread_id=thread)).runs
    history = store.list_checkpoints(thread)[::-1]
    tasks = [task for run in runs for task in store.list_tasks(run.run_id)]
    head = store.head(thread)
    assert (head.checkpoint_id if head else None) == (history[-1].checkpoint_id if history else None)
    assert [c.parent_id for c in history] == [None, *(c.checkpoint_id for c in history)][: len(history)]
    assert sum(task.status == "done" for task in tasks) == len(history), "a checkpoint for each finish"
    assert len(tasks) == len(runs) + width * len(history), "each checkpoint came with its tasks"
    for checkpoint in history:
        store.load(checkpoint.checkpoint_id)
    return len(history)


# ---------------------------------------------------------------- processes


@pytest.mark.timeout(300)
def test_a_kill_within_any_statement_leaves_all_or_nothing(tmp_path: Path, url: str) -> None:
    survived, died = False, 0
    while not survived:
        place = url.replace("store.db", f"{died}.db").replace("/files", f"/{died}")
        with open_store(place) as store:
            prepare(store)
            with start(place, "die", died) as child:
                survived = child.wait(60) == 0
            assert survived or child.returncode == -signal.SIGKILL
            before = assert_whole(store, "t", width=3)
            assert before == int(survived), "what was not committed is not there"
            (again,) = store.finish("w", "0", [prepared()])
            assert again.result == ("already" if survived else "committed")
            assert assert_whole(store, "t", width=3) == 1
            blob = store.get_blobs("t", ["ab"])["ab"]
            assert blob.data == b"blob"
        died += not survived
    assert died > 5, "the transaction has several statements"


@pytest.mark.timeout(300)
def test_killed_writers_do_no_harm_to_the_living(url: str) -> None:
    with open_store(url) as store, start(url, "chain", "steady", 60) as steady:
        for victim in range(4):
            with start(url, "chain", f"victim{victim}", 10_000) as child:
                assert child.stdout is not None
                for _ in range(5 + victim):
                    assert child.stdout.readline(), "it writes beside the others"
                os.kill(child.pid, signal.SIGKILL)
            assert assert_whole(store, f"victim{victim}") >= 5 + victim, "what it had reported is there"
        steady.communicate(timeout=120)
        assert steady.returncode == 0
        assert assert_whole(store, "steady") == 60
        seqs = [run.seq for run in store.list_runs(RunFilter(limit=1000)).runs]
        assert len(seqs) == len(set(seqs)) == 5


def test_a_forked_child_opens_connections_of_its_own(url: str) -> None:
    script = """
import os, sys, threading
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.opening import open_store
sys.path.insert(0, sys.argv[2])
from sqlite_child import chain
store = open_store(sys.argv[1])
chain(store, "parent", 3)
mine = {id(db) for db in store.connections._pool().idle}
pid = os.fork()
if pid == 0:
    chain(store, "child", 20)
    theirs = {id(db) for db in store.connections._pool().idle}
    store.close()
    os._exit(0 if theirs and not theirs & mine else 3)
chain(store, "both", 20)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert {id(db) for db in store.connections._pool().idle} == mine

# A fork while another thread is in a transaction: the child must not wait for a lock that nobody will open.
inside, done = threading.Event(), threading.Event()
def hold(db):
    inside.set()
    done.wait(60)
thread = threading.Thread(target=lambda: store.connections.write(hold))
thread.start()
inside.wait(60)
pid = os.fork()
if pid == 0:
    store.connections.busy_timeout = 0.1
    try:
        chain(store, "late", 1)
    except StoreUnavailableError:
        os._exit(0)
    os._exit(4)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
done.set()
thread.join()
store.validate()
store.close()
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, url, str(CHILD.parent)]
    subprocess.run(command, env=ENV, check=True, timeout=60, stdout=subprocess.DEVNULL)
    with open_store(url) as store:
        assert [assert_whole(store, thread) for thread in ("parent", "child", "both", "late")] == [
            3,
            20,
            20,
            0,
        ]


def test_threads_of_one_process_share_a_store(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(url) as store:
        workers = [threading.Thread(target=chain, args=(store, f"t{n}", 15)) for n in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [assert_whole(store, f"t{n}") for n in range(6)] == [15] * 6


# ---------------------------------------------------------------- a busy or faulty file


def test_a_file_held_by_another_is_unavailable(lite: SQLiteStore) -> None:
    other = sqlite3.connect(lite.connections.path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match=r"held by another transaction for 0\.1 s"):
            lite.beat(Worker(worker_id="w", name="w"))
        assert lite.list_workers() == [], "readers are not in its way"
        other.execute("ROLLBACK")
        lite.beat(Worker(worker_id="w", name="w"))
        assert [worker.worker_id for worker in lite.list_workers()] == ["w"]
    finally:
        other.close()


def test_a_writer_waits_for_another_to_end(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        assert isinstance(store, SQLiteStore)
        other = sqlite3.connect(store.connections.path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, other.execute, ["COMMIT"])
        timer.start()
        started = time.monotonic()
        store.beat(Worker(worker_id="w", name="w"))
        assert time.monotonic() - started >= 0.15
        timer.join()
        other.close()


def test_an_operation_that_fails_changes_nothing(lite: SQLiteStore) -> None:
    prepare(lite)
    before = snapshot(lite, ["t"])
    bad = settled("r", 0, None)
    bad.settle.tasks[0].task_id = "r-0"  # type: ignore[union-attr]
    with pytest.raises(StoreError, match=r"UNIQUE constraint failed: tasks\.task_id"):
        lite.finish("w", "0", [bad])
    bad = settled("r", 0, None)
    bad.output = '"\ud800"'
    with pytest.raises(UnstorableError, match="surrogates"):
        lite.finish("w", "0", [bad])
    assert snapshot(lite, ["t"]) == before
    assert lite.finish("w", "0", [settled("r", 0, None)])[0].result == "committed"


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///some%20file.db?synchronous=normal&busy_timeout=2.5") as store:
        assert isinstance(store, SQLiteStore)
        assert store.connections.path == tmp_path / "some%20file.db"
        assert store.connections.busy_timeout == 2.5
        found = store.connections.read(
            lambda db: [
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("synchronous", "foreign_keys", "journal_mode")
            ]
        )
        assert found == [1, 1, "wal"]
    with open_store(f"file://{tmp_path}/a%20folder"):
        assert (tmp_path / "a folder" / "ledger.db").exists()
    for bad, word in {
        "sqlite://": "names no file",
        "sqlite:///:memory:": "memory://",
        "sqlite:///a.db?sync=1": "unknown option 'sync'",
        "sqlite:///a.db?synchronous=maybe": "FULL",
        "sqlite:///a.db?busy_timeout=long": "seconds",
        "file://": "names no folder",
    }.items():
        with pytest.raises(ConfigurationError, match=word):
            open_store(bad)
    with pytest.raises(StoreUnavailableError, match="unable to open"):
        open_store(f"sqlite:///{tmp_path}/none/a.db")


def test_only_what_must_last_waits_for_the_disk(lite: SQLiteStore) -> None:
    prepare(lite)
    (db,) = lite.connections._pool().idle
    said: list[str] = []
    db.set_trace_callback(said.append)
    lite.claim("w", "0", [("r-0", "other")])
    assert said[0] == "PRAGMA synchronous = NORMAL"
    assert said[-1] == "PRAGMA synchronous = FULL"
    said.clear()
    lite.finish("w", "0", [settled("r", 0, None)])
    lite.submit([new_run("r2", "t2")])
    assert not [text for text in said if "PRAGMA" in text]
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)


# ---------------------------------------------------------------- schema


def test_migrations_and_a_new_file_agree(lite: SQLiteStore, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/other.db")
    migrate.upgrade(engine)
    engine.dispose()
    modelled = create_engine("sqlite://")
    metadata.create_all(modelled)
    with modelled.connect() as connection:
        wanted = connection.exec_driver_sql(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
        )
        wanted_indexes = {name for (name,) in wanted}
    modelled.dispose()
    found = []
    for name in ("store.db", "other.db"):
        db = sqlite3.connect(tmp_path / name)
        rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE name <> ?", (migrate.VERSION_TABLE,))
        found.append(sorted((name, "".join((sql or "").split())) for name, sql in rows))
        columns = {
            table.name: {row[1]: bool(row[3]) for row in db.execute(f"PRAGMA table_info({table.name})")}
            for table in metadata.sorted_tables
        }
        indexes = {row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
        db.close()
        assert columns == {
            t.name: {column.name: not column.nullable for column in t.columns} for t in metadata.sorted_tables
        }
        assert {name for name in indexes if not name.startswith("sqlite_")} == wanted_indexes
    assert found[0] == found[1]
    assert lite.migrate_schema() == []


def test_a_schema_of_another_version_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with open_store(url, migrate=False) as store, pytest.raises(SchemaError, match="petiole db upgrade"):
        store.validate()
    with open_store(url, migrate=False) as store, pytest.raises(SchemaError, match="no schema"):
        store.list_workers()
    with open_store(url) as store:
        assert isinstance(store, SQLiteStore)
        store.connections.write(
            lambda db: db.execute(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'").close()
        )
        with pytest.raises(SchemaError, match="9999, newer"):
            store.migrate_schema()
    with pytest.raises(SchemaError, match="9999, newer"):
        open_store(url, migrate=False)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database at all " * 100)
    with pytest.raises(CorruptionError, match=r"store\.db is damaged or no SQLite file"):
        open_store(f"sqlite:///{path}")


def test_hot_statements_use_an_index(lite: SQLiteStore) -> None:
    said: list[str] = []
    prepare(lite)
    (db,) = lite.connections._pool().idle
    db.set_trace_callback(said.append)
    lite.claim("w", "0", [("r-0", "r-k0")], published=["r-0"])
    lite.finish("w", "0", [settled("r", 0, None, 3)])
    lite.submit([new_run("r2", "t2")])
    lite.beat(Worker(worker_id="w", name="w"), published=["r-1"])
    lite.release("w")
    lite.due()
    lite.sweep(observed=60.0)
    lite.head("t")
    lite.list_checkpoints("t", limit=3)
    lite.newest_run("t")
    lite.list_tasks("r")
    lite.get_blobs("t", ["ab"])
    db.set_trace_callback(None)
    asked = [text for text in said if text.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(asked) > 25
    for text in asked:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}")]
        slow = [
            line
            for line in plan
            if line.startswith("SCAN") and " USING " not in line and "json_each" not in line
        ]
        # The few workers may be read whole.
        assert not [line for line in slow if line.split()[1] not in ("workers", "w")], (text, plan)
    held = [text for text in asked if text.lstrip().startswith("UPDATE tasks AS t SET status = 'ready'")]
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {held[0]}")]
    assert "ix_tasks_held" in plan[0], "freeing claims looks at what is held alone"


# ---------------------------------------------------------------- backup


def test_backup_and_restore_into_an_empty_store(url: str, tmp_path: Path) -> None:
    with open_store(url) as store:
        prepare(store)
        store.finish("w", "0", [prepared()])
        for n in range(3):
            chain(store, f"t{n}", 4)
        threads = ["t", "t0", "t1", "t2"]
        before = snapshot(store, threads)
        assert store.backup(tmp_path / "backup") == 13
        with pytest.raises(FileExistsError):
            store.backup(tmp_path / "backup")
    with open_store(url.replace("store.db", "new.db").replace("/files", "/new")) as other:
        assert other.restore(tmp_path / "backup") == 13
        assert snapshot(other, threads) == before
        assert other.get_blobs("t", ["ab"])["ab"].data == b"blob"
        other.validate()
        other.sweep()
        other.beat(Worker(worker_id="w2", name="w2"))
        assert other.claim("w2", "0", [("t0-4", "k")])[0].result == "committed", "runs go on where they were"
        with pytest.raises(StoreError, match="does not exist"):
            other.restore(tmp_path / "none")
        (tmp_path / "bad").write_bytes(b"nothing of ours " * 100)
        with pytest.raises(StoreError, match="no backup"):
            other.restore(tmp_path / "bad")


def test_a_restore_changes_nothing_that_is_known(url: str, tmp_path: Path) -> None:
    with open_store(url) as store:
        chain(store, "a", 3)
        store.backup(tmp_path / "backup")
        (claimed,) = store.claim("w-a", "0", [("a-3", "a-k3")])
        assert claimed.result == "committed"
        store.finish("w-a", "0", [settled("a", 3, "a-c2")])
        before = snapshot(store, ["a"])
        assert store.restore(tmp_path / "backup") == 3
        assert snapshot(store, ["a"]) == before
        assert_whole(store, "a")
