"""Several processes that come to one store at the same moment: empty ones are set up once, older ones are upgraded once."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from petiole_stores.opening import open_store
from petiole_stores.sql import migrate
from petiole_stores.sql.sqlite import SQLiteStore
from petiole_workers.settings import Settings
from tests.cluster.worker import IMPORTS, WorkerProcess
from tests.waiting import wait_until

PROCESSES = 4
OPEN = """
import sys
from petiole_stores.opening import open_store

print("ready", flush=True)
sys.stdin.readline()
store = open_store(sys.argv[1])
store.validate()
print("done", store.list_workers(), flush=True)
"""
REAL = [
    "sqlite",
    "file",
    pytest.param("postgres", marks=pytest.mark.postgres),
    pytest.param("postgres schema", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that nobody has opened yet."""
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/store.db"
        case "file":
            return f"file://{tmp_path}/files"
        case "postgres":
            return str(request.getfixturevalue("postgres_url"))
        case "postgres schema":
            given = str(request.getfixturevalue("postgres_url"))
            return f"{given}{'&' if '?' in given else '?'}schema=fresh"
        case _:
            return str(request.getfixturevalue("redis_url"))


def open_at_once(url: str) -> None:
    """Processes open the store together: each is imported and waits before the first is let go."""
    with ExitStack() as stack:
        children = []
        for _ in range(PROCESSES):
            child = subprocess.Popen(
                [sys.executable, "-c", OPEN, url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={"PYTHONPATH": IMPORTS},
            )
            stack.enter_context(child)
            stack.callback(child.kill)
            children.append(child)
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        answers = [child.communicate(timeout=60) for child in children]
    assert answers == [("done []\n", "")] * PROCESSES


@pytest.mark.parametrize("url", REAL, indirect=True)
def test_processes_that_open_an_empty_store(url: str) -> None:
    open_at_once(url)


@pytest.mark.parametrize("revision", ["0001", "0003"])
def test_processes_that_open_an_older_sqlite_file(tmp_path: Path, revision: str) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/store.db")
    engine = create_engine("sqlite://", creator=store.connections.open)
    migrate.upgrade(engine, revision=revision)
    engine.dispose()
    open_at_once(store.url.text)
    store.validate()
    store.close()


def test_an_upgrade_of_sqlite_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/store.db")
    engine = create_engine("sqlite://", creator=store.connections.open)
    migrate.upgrade(engine, revision="0001")
    engine.dispose()
    columns = "SELECT group_concat(name) FROM pragma_table_info('runs')"
    before = store.connections.read(lambda db: db.execute(columns).fetchone())
    run, scripts = migrate.run_script, []

    def fail_at_the_second(text: str) -> None:
        scripts.append(text)
        if len(scripts) == 2:
            raise OSError("no space")
        run(text)

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "run_script", fail_at_the_second)
        with pytest.raises(OSError, match="no space"):
            store.migrate_schema()
    assert store.connections.read(lambda db: db.execute(columns).fetchone()) == before
    assert [step.partition(":")[0] for step in store.migrate_schema()] == ["0002", "0003", "0004", "0005"]
    store.validate()
    store.close()


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.parametrize("url", REAL[:1] + REAL[2:3], indirect=True)
def test_workers_that_come_to_an_empty_store(url: str, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        store=url, broker=redis_url, data_dir=str(tmp_path), graphs=["tests.graphs:other"], concurrency=1
    )
    workers = [WorkerProcess(name, settings, tmp_path, {}) for name in ("one", "two")]
    try:
        for worker in workers:
            wait_until(lambda of=worker: "serves" in of.process.tail() or not of.running(), 60)
            assert worker.running(), worker.process.tail()
        store = open_store(url, migrate=False)
        assert {record.pid for record in store.list_workers() if record.status == "alive"} == {
            worker.pid for worker in workers
        }
        store.close()
    finally:
        for worker in workers:
            worker.kill()
