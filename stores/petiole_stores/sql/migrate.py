"""The schema's version: what it is, what it should be, and the way from one to the other.

Alembic is slow to import, so it is imported only where steps are taken or printed; asking for the version needs one
statement. All functions work on Postgres and on SQLite.
"""

from __future__ import annotations

import io
from importlib import resources
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from petiole_stores.sql.revision import HEAD as HEAD
from petiole_stores.sql.revision import VERSION_TABLE as VERSION_TABLE
from petiole_stores.sql.revision import fits

if TYPE_CHECKING:
    from alembic.config import Config

#: Upgrades of one Postgres database wait for each other under this advisory lock.
UPGRADE_LOCK = 0x7065746C_75706772
#: Files of ``petiole_stores/sql/functions`` in the order of their installation.
FUNCTIONS = (
    "json", "run", "submit", "claim", "finish", "workers", "deadlines", "sweep", "control", "amend", "holding",
    "checkpoints", "upkeep", "items", "events",
)  # fmt: skip


def current(connection: Connection) -> str | None:
    """The revision of the database's schema; ``None``: it holds no Petiole."""
    if connection.dialect.name == "postgresql":
        found = connection.scalar(sa.text("SELECT to_regclass(:name) IS NOT NULL"), {"name": VERSION_TABLE})
    else:
        found = sa.inspect(connection).has_table(VERSION_TABLE)
    if not found:
        return None
    version: str | None = connection.scalar(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return version


def head() -> str:
    """The revision that this version of Petiole works with."""
    return HEAD


def check(connection: Connection, where: str) -> bool:
    """Is the schema there? Raises SchemaError when it is there in another version than this one works with."""
    return fits(current(connection), where)


def upgrade(engine: Engine, *, revision: str = "head", schema: str | None = None) -> list[str]:
    """Bring the schema to ``revision`` and return the steps taken, as "revision: what it does".

    All steps are one transaction, and upgrades that run at the same time wait for each other: on Postgres at a lock, on
    SQLite where the engine's transactions have the file for themselves. ``schema`` is created first where it does not exist.
    """
    from alembic import command

    steps: list[str] = []
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="READ COMMITTED")
        with connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
                if schema is not None:
                    quoted = connection.dialect.identifier_preparer.quote_identifier(schema)
                    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
            if current(connection) == HEAD and revision in ("head", HEAD):
                return steps
            command.upgrade(_config(connection=connection, steps=steps), revision)
    return steps


def sql(dialect: str = "postgresql", *, start: str | None = None) -> str:
    """The steps from revision ``start`` (``None``: an empty database) to the head as a script for ``psql``."""
    from alembic import command

    config = _config(dialect=dialect)
    config.output_buffer = io.StringIO()
    command.upgrade(config, "head" if start is None else f"{start}:head", sql=True)
    return config.output_buffer.getvalue()


def functions() -> dict[str, str]:
    """Text of the files that define the ledger's functions on Postgres, by name."""
    folder = resources.files("petiole_stores.sql") / "functions"
    return {name: (folder / f"{name}.sql").read_text() for name in FUNCTIONS}


def install_functions() -> None:
    """Within a step: define the ledger's functions (nothing on other dialects than Postgres)."""
    from alembic import op

    if op.get_context().dialect.name != "postgresql":
        return
    for text in functions().values():
        op.execute(sa.text(text.replace(":", "\\:")))


def run_script(text: str) -> None:
    """Within a step: run a script of plain statements; comments are whole lines."""
    from alembic import op

    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    for statement in filter(None, map(str.strip, code.split(";"))):
        op.execute(sa.text(statement))


def _config(**attributes: object) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("petiole_stores") / "migrations"))
    config.attributes.update(attributes)
    return config
