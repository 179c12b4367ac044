"""the tables

The ledger's functions on Postgres come with the newest step alone: those of today need today's columns.
"""

from __future__ import annotations

from importlib import resources

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from petiole_stores.sql.migrate import run_script

revision = "0001"
down_revision: str | None = None

Id = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Document = sa.Text().with_variant(JSONB(), "postgresql")
Plain = sa.JSON().with_variant(JSONB(), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        run_script((resources.files("petiole_stores.migrations") / "v0001_sqlite.sql").read_text())
        return
    op.create_table(
        "threads",
        sa.Column("thread_id", Id, nullable=False),
        sa.Column("active_run", Id),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("thread_id", name="pk_threads"),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "heads",
        sa.Column("thread_id", Id, nullable=False),
        sa.Column("ns", Id, nullable=False),
        sa.Column("checkpoint_id", Id),
        sa.Column("run_id", Id),
        sa.Column("open", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("width", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("thread_id", "ns", name="pk_heads"),
        of_thread("heads"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "runs",
        sa.Column("seq", Serial, sa.Identity(), nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("thread_id", Id, nullable=False),
        sa.Column("graph", Id, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("fingerprint", sa.Text),
        sa.Column("input", Document),
        sa.Column("base_id", Id),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("request_digest", sa.Text),
        sa.Column("config", Document, nullable=False),
        sa.Column("tags", Document, nullable=False),
        sa.Column("metadata", Document, nullable=False),
        sa.Column("error", Document),
        sa.Column("checkpoint_id", Id),
        sa.Column("run_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("replays", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("seq", name="pk_runs"),
        of_thread("runs"),
        sa.UniqueConstraint("run_id", name="uq_runs_run_id"),
        postgresql_with={"fillfactor": 80},
    )
    op.create_index("ix_runs_thread_id_seq", "runs", ["thread_id", "seq"])
    op.create_index("ix_runs_status_seq", "runs", ["status", "seq"])
    op.create_index("ix_runs_graph_seq", "runs", ["graph", "seq"])
    partial_index(
        "ix_runs_unstarted", "runs", ["thread_id", "seq"], "started_at IS NULL AND ended_at IS NULL"
    )
    op.create_table(
        "checkpoints",
        sa.Column("checkpoint_id", Id, nullable=False),
        sa.Column("seq", Serial, sa.Identity(), nullable=False),
        sa.Column("thread_id", Id, nullable=False),
        sa.Column("ns", Id, nullable=False),
        sa.Column("run_id", Id),
        sa.Column("parent_id", Id),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("node_names", Document, nullable=False),
        sa.Column("state", Document, nullable=False),
        sa.Column("next", Document, nullable=False),
        sa.Column("control", Document, nullable=False),
        sa.Column("metadata", Document, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_checkpoints"),
        of_thread("checkpoints"),
    )
    op.create_index("ix_checkpoints_thread_id_ns_seq", "checkpoints", ["thread_id", "ns", "seq"])
    op.create_table(
        "tasks",
        sa.Column("task_id", Id, nullable=False),
        sa.Column("seq", Serial, sa.Identity(), nullable=False),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("thread_id", Id, nullable=False),
        sa.Column("ns", Id, nullable=False),
        sa.Column("checkpoint_id", Id),
        sa.Column("path", Id, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("node", Id, nullable=False),
        sa.Column("queue", Id, nullable=False),
        sa.Column("priority", Id, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("arg", Document),
        sa.Column("token", Id),
        sa.Column("done_token", Id),
        sa.Column("holder", Id),
        sa.Column("slot", Id),
        sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("crashes", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("started", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("recovered", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("replaced", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("output", Document),
        sa.Column("error", Document),
        sa.Column("run_at", sa.Double),
        sa.Column("next_publish", sa.Double),
        sa.Column("publishes", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("published_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("claimed_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("attempts", Document, nullable=False, server_default=sa.text("'[]'")),
        sa.PrimaryKeyConstraint("task_id", name="pk_tasks"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name="fk_tasks_run_id", ondelete="CASCADE"),
    )
    op.create_index("ix_tasks_run_id_checkpoint_id", "tasks", ["run_id", "checkpoint_id"])
    partial_index(
        "ix_tasks_ready", "tasks", ["next_publish", "seq"], "status = 'ready' AND next_publish IS NOT NULL"
    )
    partial_index("ix_tasks_parked", "tasks", ["run_at"], "status = 'parked' AND run_at IS NOT NULL")
    partial_index(
        "ix_tasks_held", "tasks", ["holder", "slot"], "token IS NOT NULL AND status IN ('claimed', 'ready')"
    )
    op.create_table(
        "blobs",
        sa.Column("thread_id", Id, nullable=False),
        sa.Column("digest", Id, nullable=False),
        sa.Column("codec", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("thread_id", "digest", name="pk_blobs"),
        of_thread("blobs"),
    )
    op.create_table(
        "workers",
        sa.Column("worker_id", Id, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("lease", sa.Double, nullable=False),
        sa.Column("status", Id, nullable=False),
        sa.Column("graphs", Plain, nullable=False),
        sa.Column("queues", Plain, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("stats", Plain, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("beat_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name="pk_workers"),
    )
    op.create_index("ix_workers_status_expires_at", "workers", ["status", "expires_at"])


def of_thread(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["thread_id"], ["threads.thread_id"], name=f"fk_{table}_thread_id", ondelete="CASCADE"
    )


def partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
