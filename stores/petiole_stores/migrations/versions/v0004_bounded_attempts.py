"""the ledger's functions: a task remembers so many attempts and no more"""

from __future__ import annotations

from alembic import op

from petiole_stores.sql.migrate import install_functions

revision = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        install_functions()
