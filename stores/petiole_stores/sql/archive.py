"""Backup of a Postgres store in one zip file: a manifest, and each table as ``COPY`` gives it."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy import Connection

from petiole_stores.errors import SchemaError, StoreError
from petiole_stores.sql import migrate
from petiole_stores.sql.connection import PostgresEngine
from petiole_stores.sql.schema import metadata

FORMAT = "petiole-postgres-1"
MANIFEST = "manifest.json"
CHUNK = 1 << 20
#: Columns that are filled from a sequence; it must go on behind what was restored.
SERIALS = (("runs", "seq"), ("checkpoints", "seq"), ("tasks", "seq"))


def write_backup(connection: Connection, path: str | Path) -> int:
    """Write all tables of ``connection``'s snapshot to a new file; returns the number of checkpoints.

    The file appears under its name only when it is whole. Raises FileExistsError when there is one already.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists: name a new file for the backup")
    version = migrate.current(connection)
    if version is None:
        raise SchemaError("there is no schema of Petiole to back up: run `petiole db upgrade`")
    driver = _driver(connection)
    partial = path.with_name(path.name + ".partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            tables: dict[str, dict[str, Any]] = {}
            for table in metadata.sorted_tables:
                columns = [column.name for column in table.columns]
                with (
                    archive.open(f"{table.name}.copy", "w", force_zip64=True) as file,
                    driver.cursor().copy(_copy("COPY {} ({}) TO STDOUT", table.name, columns)) as copy,
                ):
                    for block in copy:
                        file.write(block)
                rows = connection.scalar(sa.select(sa.func.count()).select_from(table))
                tables[table.name] = {"columns": columns, "rows": rows}
            manifest = {"format": FORMAT, "revision": version, "tables": tables}
            archive.writestr(MANIFEST, json.dumps(manifest, indent=2))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return int(tables["checkpoints"]["rows"])


def restore(connections: PostgresEngine, path: str | Path) -> int:
    """Load a file that ``write_backup`` wrote into an empty database, and bring its schema up to date."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise StoreError(f"{path} is no backup, or is damaged: {error}") from error
    with archive:
        manifest = _manifest(archive, path)
        engine, schema = connections.engine, connections.schema
        if connections.transact(migrate.current) is None:
            migrate.upgrade(engine, revision=manifest["revision"], schema=schema)
        # Not again() after a cut: a COPY that fails has changed nothing, and the caller sees the error.
        with (
            engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
            connection.begin(),
        ):
            if migrate.current(connection) != manifest["revision"]:
                raise SchemaError(
                    f"{path} is of revision {manifest['revision']}, the database of another: restore into an empty one"
                )
            if connection.scalar(sa.text("SELECT EXISTS (SELECT FROM threads)")):
                raise StoreError(
                    f"{connections.shown} already holds threads: restore into an empty database or schema"
                )
            connection.exec_driver_sql("DELETE FROM workers")
            driver = _driver(connection)
            for table in metadata.sorted_tables:
                if table.name in manifest["tables"]:
                    _load(driver, archive, table.name, manifest["tables"][table.name], path)
            for name, column in SERIALS:
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{name}', '{column}'), max({column})) FROM {name}"
                )
    migrate.upgrade(engine, schema=schema)
    return int(manifest["tables"]["checkpoints"]["rows"])


def _load(
    driver: psycopg.Connection[Any], archive: zipfile.ZipFile, name: str, table: dict[str, Any], path: object
) -> None:
    cursor = driver.cursor()
    try:
        with (
            archive.open(f"{name}.copy") as file,
            cursor.copy(_copy("COPY {} ({}) FROM STDIN", name, table["columns"])) as copy,
        ):
            while block := file.read(CHUNK):
                copy.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, psycopg.DataError) as error:
        raise StoreError(f"{path} is damaged in table {name}: {error}; nothing was restored") from error
    if cursor.rowcount != table["rows"]:
        raise StoreError(
            f"{path} has {cursor.rowcount} rows of {name} in place of {table['rows']}: it is damaged; nothing was restored"
        )


def _manifest(archive: zipfile.ZipFile, path: object) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(archive.read(MANIFEST))
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is no backup of a Postgres store: it has no readable {MANIFEST}") from error
    if manifest.get("format") != FORMAT:
        raise StoreError(
            f"{path} is a backup of format {manifest.get('format')!r}: this Petiole reads {FORMAT!r}"
        )
    if manifest["revision"] > migrate.HEAD:
        raise SchemaError(
            f"{path} is of revision {manifest['revision']}, newer than {migrate.HEAD}: install a newer Petiole"
        )
    return manifest


def _copy(statement: str, table: str, columns: list[str]) -> sql.Composed:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL(statement).format(sql.Identifier(table), names)


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
