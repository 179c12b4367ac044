"""subgraphs, signals, long-term memory and events"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from petiole_stores.sql.migrate import run_script

revision = "0003"
down_revision: str | None = "0002"

SQLITE = """
ALTER TABLE heads ADD COLUMN owner TEXT;
ALTER TABLE tasks ADD COLUMN child TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN awaits TEXT NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN woken INTEGER NOT NULL DEFAULT 0;
CREATE TABLE items (
    ns TEXT NOT NULL, key TEXT NOT NULL, codec TEXT NOT NULL, data BLOB NOT NULL, checksum TEXT NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, ttl REAL, expires_at REAL, PRIMARY KEY (ns, key)
);
CREATE INDEX ix_items_expires_at ON items (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE events (
    thread_id TEXT NOT NULL, seq INTEGER NOT NULL, run_id TEXT NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL,
    codec TEXT NOT NULL, data BLOB NOT NULL, created_at REAL NOT NULL, PRIMARY KEY (thread_id, seq),
    UNIQUE (thread_id, event_id)
);
CREATE INDEX ix_events_created_at ON events (created_at);
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        run_script(SQLITE)
        return
    label = sa.Text(collation="C")
    op.add_column("heads", sa.Column("owner", label))
    op.add_column("tasks", sa.Column("child", label, nullable=False, server_default=sa.text("''")))
    op.add_column("tasks", sa.Column("awaits", label, nullable=False, server_default=sa.text("''")))
    op.add_column("tasks", sa.Column("woken", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.create_table(
        "items",
        sa.Column("ns", label, nullable=False),
        sa.Column("key", label, nullable=False),
        sa.Column("codec", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("ttl", sa.Double),
        sa.Column("expires_at", sa.Double),
        sa.PrimaryKeyConstraint("ns", "key", name="pk_items"),
    )
    op.create_index(
        "ix_items_expires_at", "items", ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    op.create_table(
        "events",
        sa.Column("thread_id", label, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("run_id", label, nullable=False),
        sa.Column("event_id", label, nullable=False),
        sa.Column("kind", label, nullable=False),
        sa.Column("codec", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "seq", name="pk_events"),
        sa.UniqueConstraint("thread_id", "event_id", name="uq_events_thread_id_event_id"),
    )
    op.create_index("ix_events_created_at", "events", ["created_at"])
