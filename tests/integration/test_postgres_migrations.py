"""The schema's steps on Postgres: they make what ``schema.py`` says, tell versions apart, and wait for each other."""

from __future__ import annotations

import json
import threading
import zipfile
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from petiole_stores.errors import SchemaError
from petiole_stores.opening import open_store, upgrade_store
from petiole_stores.records import NewCheckpoint, Outcome, Settle
from petiole_stores.sql import migrate
from petiole_stores.sql.postgres import PostgresStore
from petiole_stores.sql.schema import metadata
from petiole_stores.store import Store, StoreUrl
from tests.discovery import PostgresDatabases
from tests.revisions import revisions

pytestmark = pytest.mark.postgres

#: What makes up a schema: columns, constraints, indexes and storage options, each as one line of text.
CATALOGUE = """
SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || coalesce(l.collname, '')
    || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || ' ' || a.attidentity::text || ' '
    || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
UNION ALL
SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = current_schema()::regnamespace
UNION ALL
SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes WHERE schemaname = current_schema()
UNION ALL
SELECT relname || ' ' || reloptions::text FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND reloptions IS NOT NULL
"""


#: The functions with their bodies.
FUNCTIONS = """
SELECT oid::regprocedure || ' ' || prosrc || ' ' || coalesce(proconfig::text, '') FROM pg_proc
WHERE pronamespace = current_schema()::regnamespace"""


def installed(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(sa.text(FUNCTIONS.replace(":", "\\:"))))


def catalogue(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        found = set(connection.scalars(sa.text(CATALOGUE)))
    return {line for line in found if migrate.VERSION_TABLE not in line}


def test_steps_make_what_the_tables_say(postgres_databases: PostgresDatabases) -> None:
    with postgres_databases.fresh() as stepped, postgres_databases.fresh() as declared:
        stores = PostgresStore(stepped), PostgresStore(declared)
        stores[0].migrate_schema()
        metadata.create_all(stores[1].connections.engine)
        try:
            made, wanted = (catalogue(store.connections.engine) for store in stores)
        finally:
            for store in stores:
                store.close()
    assert made == wanted
    assert len(made) > 100


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent.parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.head()]


def test_every_function_file_is_installed() -> None:
    folder = Path(migrate.__file__).parent / "functions"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(migrate.FUNCTIONS)


def test_printed_steps_do_the_same(postgres_databases: PostgresDatabases) -> None:
    with postgres_databases.fresh() as stepped, postgres_databases.fresh() as scripted:
        stores = PostgresStore(stepped), PostgresStore(scripted)
        stores[0].migrate_schema()
        with stores[1].connections.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(migrate.sql())
        try:
            made, wanted = (
                catalogue(store.connections.engine) | installed(store.connections.engine) for store in stores
            )
            stores[1].validate()
        finally:
            for store in stores:
                store.close()
    assert made == wanted


def test_an_empty_database_is_set_up(postgres_url: str) -> None:
    with PostgresStore(postgres_url) as store:
        with pytest.raises(SchemaError, match="petiole db upgrade"):
            store.validate()
        with pytest.raises(SchemaError, match="petiole db upgrade"):
            store.get_run("r")
        assert [step.partition(":")[0] for step in store.migrate_schema()] == revisions()
        assert store.migrate_schema() == []
        store.validate()


@pytest.mark.parametrize(
    ("version", "remedy"), [("0000", "run `petiole db upgrade`"), ("9999", "newer than")]
)
def test_another_version_is_refused(postgres_url: str, version: str, remedy: str) -> None:
    store = open_store(postgres_url)
    assert isinstance(store, PostgresStore)
    with store.connections.engine.connect() as connection:
        connection.execute(sa.text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = :v"), {"v": version})
    store.close()
    with pytest.raises(SchemaError, match=remedy) as caught:
        open_store(postgres_url)
    assert version in str(caught.value)
    assert StoreUrl.parse(postgres_url).shown in str(caught.value)


def test_upgrades_at_the_same_time_wait_for_each_other(postgres_url: str) -> None:
    barrier = threading.Barrier(4)
    taken: list[list[str]] = []
    faults: list[Exception] = []

    def set_up() -> None:
        store = PostgresStore(postgres_url)
        try:
            barrier.wait(10)
            taken.append(migrate.upgrade(store.connections.engine))
        except Exception as error:  # noqa: BLE001 - shown below
            faults.append(error)
        finally:
            store.close()

    threads = [threading.Thread(target=set_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults
    assert sorted(map(len, taken)) == [0, 0, 0, len(revisions())]


def test_schemas_share_a_database(postgres_url: str) -> None:
    mark = "&" if "?" in postgres_url else "?"
    with (
        open_store(f"{postgres_url}{mark}schema=one") as one,
        open_store(f'{postgres_url}{mark}schema=the "2"') as two,
    ):
        from petiole_stores.conformance import Scene

        scene = Scene(one)
        one.submit([scene.new_run()])
        assert one.get_run(scene.id("r")) is not None
        assert two.get_run(scene.id("r")) is None


# ---------------------------------------------------------------- from older revisions

#: A thread whose run has a claimed node, as revision 0001 had it; later ones take it with the defaults of their columns.
OLD_ROWS = """
INSERT INTO threads VALUES ('t', 'r', 1);
INSERT INTO heads VALUES ('t', '', 'c', 'r', 1, 1);
INSERT INTO runs (run_id, thread_id, graph, status, config, tags, metadata, created_at, started_at)
VALUES ('r', 't', 'g', 'running', '{}', '[]', '{}', 1, 1);
INSERT INTO checkpoints (checkpoint_id, thread_id, ns, run_id, step, source, node_names, state, next, control, metadata,
    digest, version, created_at)
VALUES ('c', 't', '', 'r', 0, 'loop', '[]', '{"a": 1}', '[]', '{}', '{}', 'd', 1, 1);
INSERT INTO tasks (task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, holder, slot,
    token, created_at)
VALUES ('n', 'r', 't', '', 'c', 'pull:n', 'node', 'n', 'q', 'default', 'claimed', 'w', 's', 'k', 1);
INSERT INTO workers VALUES ('w', 'w', '', 1, 15, 'alive', '{"g": "1"}', '[]', '', 1, '{}', 1, 1, 2);
"""
OLD_TABLES = ("threads", "heads", "runs", "checkpoints", "tasks", "workers")


def at_0001(url: str, revision: str = "0001") -> None:
    """A database of the first revision, or of another, with a run under way."""
    with PostgresStore(url) as store:
        migrate.upgrade(store.connections.engine, revision=revision)
    with psycopg.connect(url) as connection:
        connection.execute(OLD_ROWS)


def goes_on(store: Store) -> None:
    """The run under way ends, and the new columns are as for rows without them."""
    checkpoint, (task,), (worker,) = store.head("t"), store.list_tasks("r"), store.list_workers()
    assert checkpoint is not None
    assert (checkpoint.seal, checkpoint.quarantined, task.dropped, task.progress) == ("", None, False, None)
    assert task.timeout is None
    assert (worker.offers, store.pause(["r"])[0].result) == ({}, "committed")
    settle = Settle(checkpoints=[NewCheckpoint(
        checkpoint_id="c2", parent_id="c", step=1, source="loop", node_names=["n"], state="{}", digest="d", seal="s",
    )], run_status="succeeded")  # fmt: skip
    outcome = Outcome(task_id="n", token="k", ending="done", output="{}", settle=settle)
    assert [answer.result for answer in store.finish("w", "s", [outcome])] == ["committed"]
    run, head = store.get_run("r"), store.head("t")
    assert run is not None
    assert head is not None
    assert (run.status, run.reason, run.deadline, head.seal) == ("succeeded", None, None, "s")


@pytest.mark.parametrize("revision", revisions()[:-1])
def test_a_database_of_an_older_revision_goes_on(postgres_url: str, revision: str) -> None:
    at_0001(postgres_url, revision)
    with pytest.raises(SchemaError, match="run `petiole db upgrade`"):
        open_store(postgres_url, migrate=False)
    assert [step.partition(":")[0] for step in upgrade_store(postgres_url)] == revisions(revision)
    with open_store(postgres_url, migrate=False) as store:
        goes_on(store)


@pytest.mark.parametrize("revision", ["0001", revisions()[-2]])
def test_a_script_upgrades_an_older_revision(postgres_url: str, revision: str) -> None:
    at_0001(postgres_url, revision)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(migrate.sql(start=revision))
    with PostgresStore(postgres_url) as store:
        store.validate()
        goes_on(store)


def test_a_backup_of_the_first_revision_is_restored(
    postgres_databases: PostgresDatabases, tmp_path: Path
) -> None:
    file = tmp_path / "old.zip"
    with postgres_databases.fresh() as old, postgres_databases.fresh() as new:
        at_0001(old)
        old_backup(old, file)
        with PostgresStore(new) as store:
            assert store.restore(file) == 1
            store.validate()
            goes_on(store)


def old_backup(url: str, file: Path) -> None:
    """As the first revision wrote it: with the columns it had."""
    tables = {}
    with zipfile.ZipFile(file, "w") as archive, psycopg.connect(url) as connection:
        for table in OLD_TABLES:
            cursor = connection.execute(f"SELECT * FROM {table}")
            columns = [column.name for column in cursor.description or ()]
            tables[table] = {"columns": columns, "rows": cursor.rowcount}
            with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) TO STDOUT") as copy:
                archive.writestr(f"{table}.copy", b"".join(bytes(block) for block in copy))
        manifest = {"format": "petiole-postgres-1", "revision": "0001", "tables": tables}
        archive.writestr("manifest.json", json.dumps(manifest))
