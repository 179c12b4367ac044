"""tasks with timeouts of their own, and the ledger's functions"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from petiole_stores.sql.migrate import install_functions, run_script

revision = "0005"
down_revision: str | None = "0004"


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        run_script("ALTER TABLE tasks ADD COLUMN timeout TEXT;")
        return
    op.add_column("tasks", sa.Column("timeout", JSONB))
    install_functions()
