"""deadlines, reasons, progress, seals and offers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from petiole_stores.sql.migrate import run_script

revision = "0002"
down_revision: str | None = "0001"

SQLITE = """
ALTER TABLE runs ADD COLUMN reason TEXT;
ALTER TABLE runs ADD COLUMN deadline REAL;
ALTER TABLE checkpoints ADD COLUMN seal TEXT NOT NULL DEFAULT '';
ALTER TABLE checkpoints ADD COLUMN quarantined TEXT;
ALTER TABLE tasks ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN progress TEXT;
ALTER TABLE workers ADD COLUMN offers TEXT NOT NULL DEFAULT '{}';
CREATE INDEX ix_runs_deadline ON runs (deadline) WHERE deadline IS NOT NULL AND ended_at IS NULL;
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        run_script(SQLITE)
        return
    op.add_column("runs", sa.Column("reason", JSONB))
    op.add_column("runs", sa.Column("deadline", sa.Double))
    op.add_column("checkpoints", sa.Column("seal", sa.Text, nullable=False, server_default=sa.text("''")))
    op.add_column("checkpoints", sa.Column("quarantined", sa.Text))
    op.add_column("tasks", sa.Column("dropped", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.add_column("tasks", sa.Column("progress", JSONB))
    op.add_column("workers", sa.Column("offers", JSONB, nullable=False, server_default=sa.text("'{}'")))
    op.create_index(
        "ix_runs_deadline",
        "runs",
        ["deadline"],
        postgresql_where=sa.text("deadline IS NOT NULL AND ended_at IS NULL"),
    )
    op.create_index(
        "ix_runs_ended_at", "runs", ["ended_at"], postgresql_where=sa.text("ended_at IS NOT NULL")
    )
    op.create_index("ix_checkpoints_seq", "checkpoints", ["seq"])
