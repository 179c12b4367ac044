"""The tables, for both dialects. This header is the map of what is where.

threads      one row a thread: which run is active on it
heads        one row a thread and namespace: the newest checkpoint, and how many tasks of the superstep after it are
             open. The only row that every finish of a thread updates, so it is small and has no index but its key
runs         one row a run (an execution): what was asked for, and how it stands
checkpoints  immutable, one row a superstep; ``state`` is a JSON document whose large values are refs to ``blobs``
tasks        one row a task; also the outbox (``next_publish``), the timers (``run_at``) and the pending writes
             (``output``)
blobs        content-addressed values, once for each thread
items        long-term memory, signals and caches; of no thread
events       what running nodes said, in the order of their thread
workers      one row a worker incarnation: its lease

Times are seconds since the epoch as the store's clock has them (``double precision``): leases and timers compare and
add them, and every dialect treats them alike. ``to_timestamp(created_at)`` shows one on Postgres.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Ids and names: compared byte by byte on both dialects (task paths are ordered by it).
Id = Text().with_variant(Text(collation="C"), "postgresql")
#: A document: JSONB on Postgres, text on SQLite. Bound and read as JSON *text* by the stores (no decoding on the way).
Document = Text().with_variant(JSONB(), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")

threads = Table(
    "threads",
    metadata,
    Column("thread_id", Id, primary_key=True),
    Column("active_run", Id),
    Column("created_at", Double, nullable=False),
    postgresql_with={"fillfactor": 80},
)

heads = Table(
    "heads",
    metadata,
    Column("thread_id", Id, ForeignKey("threads.thread_id", ondelete="CASCADE"), primary_key=True),
    Column("ns", Id, primary_key=True),
    Column("checkpoint_id", Id),
    Column("run_id", Id),
    Column("open", Integer, nullable=False, server_default=text("0")),
    Column("width", Integer, nullable=False, server_default=text("0")),
    Column("owner", Id),  # the task that waits for this namespace; NULL for the root
    postgresql_with={"fillfactor": 50},
)

runs = Table(
    "runs",
    metadata,
    Column("seq", Serial, Identity(), primary_key=True),
    Column("run_id", Id, nullable=False),
    Column("thread_id", Id, ForeignKey("threads.thread_id", ondelete="CASCADE"), nullable=False),
    Column("graph", Id, nullable=False),
    Column("status", Id, nullable=False),
    Column("version", Text),
    Column("fingerprint", Text),
    Column("input", Document),
    Column("base_id", Id),
    Column("idempotency_key", Text),
    Column("request_digest", Text),
    Column("config", Document, nullable=False),
    Column("tags", Document, nullable=False),  # JSON array of strings
    Column("metadata", Document, nullable=False),
    Column("error", Document),
    Column("checkpoint_id", Id),
    Column("run_at", Double),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("replays", Integer, nullable=False, server_default=text("0")),
    Column("reason", Document),
    Column("deadline", Double),
    UniqueConstraint("run_id"),
    Index("ix_runs_thread_id_seq", "thread_id", "seq"),
    Index("ix_runs_status_seq", "status", "seq"),
    Index("ix_runs_graph_seq", "graph", "seq"),
    # The thread's next run, however many it had before.
    Index(
        "ix_runs_unstarted",
        "thread_id",
        "seq",
        postgresql_where=text("started_at IS NULL AND ended_at IS NULL"),
        sqlite_where=text("started_at IS NULL AND ended_at IS NULL"),
    ),
    # What a sweep ends because its time is over, and what upkeep removes because it ended long ago.
    Index(
        "ix_runs_deadline",
        "deadline",
        postgresql_where=text("deadline IS NOT NULL AND ended_at IS NULL"),
        sqlite_where=text("deadline IS NOT NULL AND ended_at IS NULL"),
    ),
    Index("ix_runs_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")).ddl_if(
        dialect="postgresql"
    ),
    postgresql_with={"fillfactor": 80},  # room for the update of checkpoint_id that every hop makes
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("checkpoint_id", Id, primary_key=True),
    Column(
        "seq", Serial, Identity(), nullable=False
    ),  # SQLite: the rowid's role is played by a counter in the store
    Column("thread_id", Id, ForeignKey("threads.thread_id", ondelete="CASCADE"), nullable=False),
    Column("ns", Id, nullable=False),
    Column("run_id", Id),
    Column("parent_id", Id),
    Column("step", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("node_names", Document, nullable=False),  # JSON array of strings
    Column("state", Document, nullable=False),
    Column("next", Document, nullable=False),
    Column("control", Document, nullable=False),
    Column("metadata", Document, nullable=False),
    Column("digest", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seal", Text, nullable=False, server_default=text("''")),
    Column("quarantined", Text),
    Index("ix_checkpoints_thread_id_ns_seq", "thread_id", "ns", "seq"),
    # What is new in any thread: upkeep goes on from where it was. On SQLite ``seq`` is the table's own key.
    Index("ix_checkpoints_seq", "seq").ddl_if(dialect="postgresql"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("task_id", Id, primary_key=True),
    Column("seq", Serial, Identity(), nullable=False),  # order of insertion
    Column("run_id", Id, ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False),
    Column("thread_id", Id, nullable=False),
    Column("ns", Id, nullable=False),
    Column("checkpoint_id", Id),
    Column("path", Id, nullable=False),
    Column("kind", Text, nullable=False),
    Column("node", Id, nullable=False),
    Column("queue", Id, nullable=False),
    Column("priority", Id, nullable=False),
    Column("status", Id, nullable=False),
    Column("arg", Document),
    Column("token", Id),
    Column("done_token", Id),
    Column("holder", Id),
    Column("slot", Id),
    Column("attempt", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("crashes", Integer, nullable=False, server_default=text("0")),
    Column("started", Boolean, nullable=False, server_default=text("false")),
    Column("recovered", Boolean, nullable=False, server_default=text("false")),
    Column("replaced", Boolean, nullable=False, server_default=text("false")),
    Column("output", Document),
    Column("error", Document),
    Column("run_at", Double),
    Column("next_publish", Double),
    Column("publishes", Integer, nullable=False, server_default=text("0")),
    Column("published_at", Double),
    Column("created_at", Double, nullable=False),
    Column("claimed_at", Double),
    Column("ended_at", Double),
    Column("attempts", Document, nullable=False, server_default=text("'[]'")),
    Column("dropped", Boolean, nullable=False, server_default=text("false")),
    Column("progress", Document),
    Column("child", Id, nullable=False, server_default=text("''")),
    Column("awaits", Id, nullable=False, server_default=text("''")),
    Column("woken", Boolean, nullable=False, server_default=text("false")),
    Column("timeout", Document),
    # A run's tasks, and one superstep's, when the last joiner or an advance looks for them. One index for both: every
    # change of a task's status writes into each index of this table.
    Index("ix_tasks_run_id_checkpoint_id", "run_id", "checkpoint_id"),
    # The outbox, the timers and the claims: small, for they hold only what is not over.
    Index(
        "ix_tasks_ready",
        "next_publish",
        "seq",
        postgresql_where=text("status = 'ready' AND next_publish IS NOT NULL"),
        sqlite_where=text("status = 'ready' AND next_publish IS NOT NULL"),
    ),
    Index(
        "ix_tasks_parked",
        "run_at",
        postgresql_where=text("status = 'parked' AND run_at IS NOT NULL"),
        sqlite_where=text("status = 'parked' AND run_at IS NOT NULL"),
    ),
    Index(
        "ix_tasks_held",
        "holder",
        "slot",
        postgresql_where=text("token IS NOT NULL AND status IN ('claimed', 'ready')"),
        sqlite_where=text("token IS NOT NULL AND status IN ('claimed', 'ready')"),
    ),
)

blobs = Table(
    "blobs",
    metadata,
    Column("thread_id", Id, ForeignKey("threads.thread_id", ondelete="CASCADE"), primary_key=True),
    Column("digest", Id, primary_key=True),
    Column("codec", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

# Long-term memory, signals and caches: what outlives the threads that made it.
items = Table(
    "items",
    metadata,
    Column("ns", Id, primary_key=True),  # its labels, each followed by U+001F, so that a prefix is a range
    Column("key", Id, primary_key=True),
    Column("codec", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("ttl", Double),  # seconds that it lives on after it was written, or read with a refresh
    Column("expires_at", Double),
    Index(
        "ix_items_expires_at",
        "expires_at",
        postgresql_where=text("expires_at IS NOT NULL"),
        sqlite_where=text("expires_at IS NOT NULL"),
    ),
)

# What running nodes said to whoever follows their thread.
events = Table(
    "events",
    metadata,
    Column("thread_id", Id, primary_key=True),
    Column("seq", BigInteger, primary_key=True),  # counted in the thread, without gaps
    Column("run_id", Id, nullable=False),
    Column("event_id", Id, nullable=False),  # made by the writer: the same event twice is one
    Column("kind", Id, nullable=False),
    Column("codec", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("thread_id", "event_id", name="uq_events_thread_id_event_id"),
    Index("ix_events_created_at", "created_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("worker_id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("lease", Double, nullable=False),
    Column("status", Id, nullable=False),
    Column("graphs", JSON().with_variant(JSONB(), "postgresql"), nullable=False),
    Column("queues", JSON().with_variant(JSONB(), "postgresql"), nullable=False),
    Column("pool", Text, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("stats", JSON().with_variant(JSONB(), "postgresql"), nullable=False),
    Column("started_at", Double, nullable=False),
    Column("beat_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("offers", JSON().with_variant(JSONB(), "postgresql"), nullable=False, server_default=text("'{}'")),
    Index("ix_workers_status_expires_at", "status", "expires_at"),
)
