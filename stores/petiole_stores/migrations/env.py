"""Alembic's entry: runs the steps on the connection that ``migrate`` hands over, or prints them as SQL."""

from __future__ import annotations

from typing import Any

from alembic import context

from petiole_stores.sql.migrate import VERSION_TABLE
from petiole_stores.sql.schema import metadata


def run() -> None:
    attributes = context.config.attributes
    steps: list[str] = attributes.get("steps", [])
    options: dict[str, Any] = {
        "target_metadata": metadata,
        "version_table": VERSION_TABLE,
        "on_version_apply": lambda *, step, **_: steps.append(
            f"{step.up_revision_id}: {step.up_revision.doc}"
        ),
    }
    if context.is_offline_mode():
        context.configure(dialect_name=attributes["dialect"], literal_binds=True, as_sql=True, **options)
    else:
        context.configure(connection=attributes["connection"], **options)
    with context.begin_transaction():
        context.run_migrations()


run()
