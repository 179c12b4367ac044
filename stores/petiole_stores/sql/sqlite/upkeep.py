"""The file as a whole: its schema, its soundness, its backup."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from importlib import resources
from pathlib import Path

from petiole_stores.errors import CorruptionError, SchemaError, StoreError
from petiole_stores.folder import sync_folder
from petiole_stores.sql.revision import HEAD, VERSION_TABLE, fits, is_newer
from petiole_stores.sql.sqlite.connection import Connections

_HAS_VERSION = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
_TABLES = ("threads", "heads", "runs", "checkpoints", "tasks", "blobs", "items")
#: Of these a backup's rows are taken whichever threads are known here.
_WHOLE = ("heads", "checkpoints", "blobs", "items")


def schema_statements() -> list[str]:
    """What makes the tables of the newest revision, statement by statement."""
    text = (resources.files("petiole_stores.sql.sqlite") / "schema.sql").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [part.strip() for part in code.split(";") if part.strip()]


def current(db: sqlite3.Connection) -> str | None:
    """The revision of the file's schema; ``None``: it holds no Petiole."""
    if db.execute(_HAS_VERSION, (VERSION_TABLE,)).fetchone() is None:
        return None
    row = db.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()
    return None if row is None else str(row[0])


def migrate(connections: Connections) -> list[str]:
    """Set up an empty file, or bring an older schema up to date; returns the steps taken."""
    found = connections.read(current)
    if found == HEAD:
        return []
    if found is None:
        # Without Alembic, whose import takes longer than all the rest of a command.
        return connections.write(_create)
    if is_newer(found):
        fits(found, connections.shown)
    from sqlalchemy import Connection, create_engine, event

    from petiole_stores.sql.migrate import upgrade

    def begin(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert driver is not None
        connections.seize(driver)

    engine = create_engine("sqlite://", creator=connections.open)
    event.listen(engine, "begin", begin)  # the driver begins none by itself
    try:
        return upgrade(engine)
    finally:
        engine.dispose()


def _create(db: sqlite3.Connection) -> list[str]:
    if current(db) is not None:
        return []  # another process was faster
    for statement in schema_statements():
        db.execute(statement)
    db.execute(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    db.execute(f"INSERT INTO {VERSION_TABLE} VALUES (?)", (HEAD,))
    return [f"{HEAD}: the tables"]


def check(db: sqlite3.Connection, where: str) -> None:
    """Raise CorruptionError when the file's structure is damaged, SchemaError when it lacks this version's schema."""
    faults = [text for (text,) in db.execute("PRAGMA quick_check(5)") if text != "ok"]
    if faults:
        raise CorruptionError(f"{where} is damaged ({'; '.join(faults)}): restore it from a backup")
    if not fits(current(db), where):
        raise SchemaError(f"{where} holds no schema of Petiole: run `petiole db upgrade`")


def backup(connections: Connections, path: str | Path) -> int:
    """Write the file as of one moment to a new one, whole and on disk, and return how many checkpoints it has."""
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists: name a new file for the backup")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        connections.read(lambda db: db.execute("VACUUM INTO ?", (str(partial),)).close())
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike a rename it never replaces a file
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)
    copy = sqlite3.connect(path)
    try:
        return int(copy.execute("SELECT count(*) FROM checkpoints").fetchone()[0])
    finally:
        copy.close()


def restore(connections: Connections, path: str | Path) -> int:
    """Take in what a backup has and the store lacks; returns how many checkpoints the backup has.

    Threads that the store does not know come back whole, runs and tasks with them. Of a thread that it knows, only
    checkpoints, their blobs and a missing head do: what has happened since the backup stands. Workers stay behind.
    """
    source = Path(path)
    if not source.is_file():
        raise StoreError(f"{source} does not exist: name a file that backup() wrote")
    with tempfile.TemporaryDirectory() as scratch:
        fitting = _fitting(source, Path(scratch))
        db = connections.open()
        try:
            # ATTACH is refused within a transaction, so this connection is not one of the pool's.
            db.execute("PRAGMA busy_timeout = 30000")
            db.execute("ATTACH DATABASE ? AS copy", (f"{fitting}",))
            db.execute("BEGIN IMMEDIATE")
            _merge(db)
            db.execute("COMMIT")
            return int(db.execute("SELECT count(*) FROM copy.checkpoints").fetchone()[0])
        except sqlite3.Error as error:
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                raise _no_backup(source, error) from error
            raise connections.translate(error) from error
        finally:
            db.close()


def _fitting(source: Path, scratch: Path) -> Path:
    """The backup with a schema of today: itself, or a copy that was upgraded if it is of an older version."""
    db = sqlite3.connect(source)
    try:
        found = current(db)
    except sqlite3.DatabaseError as error:
        raise _no_backup(source, error) from error
    finally:
        db.close()
    if found is None:
        raise StoreError(f"{source} is no backup of a SQLite store: it holds no schema of Petiole")
    if found == HEAD or is_newer(found):
        fits(found, str(source))
        return source
    copy = Connections(scratch / "copy.db", {}, str(source))
    shutil.copyfile(source, copy.path)
    migrate(copy)
    copy.close()
    return copy.path


def _no_backup(source: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(f"{source} is no backup of a SQLite store, or is damaged: {error}")


def _merge(db: sqlite3.Connection) -> None:
    names = {
        table: [row[1] for row in db.execute(f"PRAGMA main.table_info({table})") if row[1] != "seq"]
        for table in _TABLES
    }
    db.execute("CREATE TEMP TABLE known AS SELECT thread_id FROM main.threads")
    for table in _TABLES:
        listed = ", ".join(names[table])
        numbered = table in ("runs", "checkpoints", "tasks")
        unknown = "" if table in _WHOLE else "WHERE thread_id NOT IN (SELECT thread_id FROM known)"
        # A new seq for each row, in the order of the old ones.
        db.execute(
            f"INSERT OR IGNORE INTO main.{table} ({listed}) SELECT {listed} FROM copy.{table} {unknown}"
            + (" ORDER BY seq" if numbered else "")
        )
