-- The tables of the newest revision on SQLite: those of petiole_stores/sql/schema.py, whose header is their map, in
-- SQLite's words. Here every `seq` is the table's own key (a VACUUM renumbers rows that have none), which costs no index
-- more. Documents are text, flags are 0 and 1. Ids compare byte by byte. Columns of later revisions stand last, where
-- ALTER TABLE puts them.

CREATE TABLE threads (
    thread_id TEXT NOT NULL PRIMARY KEY,
    active_run TEXT,
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE heads (
    thread_id TEXT NOT NULL REFERENCES threads (thread_id) ON DELETE CASCADE,
    ns TEXT NOT NULL,
    checkpoint_id TEXT,
    run_id TEXT,
    open INTEGER NOT NULL DEFAULT 0,
    width INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    PRIMARY KEY (thread_id, ns)
) WITHOUT ROWID;

CREATE TABLE runs (
    seq INTEGER NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    thread_id TEXT NOT NULL REFERENCES threads (thread_id) ON DELETE CASCADE,
    graph TEXT NOT NULL,
    status TEXT NOT NULL,
    version TEXT,
    fingerprint TEXT,
    input TEXT,
    base_id TEXT,
    idempotency_key TEXT,
    request_digest TEXT,
    config TEXT NOT NULL,
    tags TEXT NOT NULL,
    metadata TEXT NOT NULL,
    error TEXT,
    checkpoint_id TEXT,
    run_at REAL,
    created_at REAL NOT NULL,
    started_at REAL,
    ended_at REAL,
    replays INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    deadline REAL
);
CREATE INDEX ix_runs_thread_id_seq ON runs (thread_id, seq);
CREATE INDEX ix_runs_status_seq ON runs (status, seq);
CREATE INDEX ix_runs_graph_seq ON runs (graph, seq);
CREATE INDEX ix_runs_unstarted ON runs (thread_id, seq) WHERE started_at IS NULL AND ended_at IS NULL;
CREATE INDEX ix_runs_deadline ON runs (deadline) WHERE deadline IS NOT NULL AND ended_at IS NULL;

CREATE TABLE checkpoints (
    seq INTEGER NOT NULL PRIMARY KEY,
    checkpoint_id TEXT NOT NULL UNIQUE,
    thread_id TEXT NOT NULL REFERENCES threads (thread_id) ON DELETE CASCADE,
    ns TEXT NOT NULL,
    run_id TEXT,
    parent_id TEXT,
    step INTEGER NOT NULL,
    source TEXT NOT NULL,
    node_names TEXT NOT NULL,
    state TEXT NOT NULL,
    next TEXT NOT NULL,
    control TEXT NOT NULL,
    metadata TEXT NOT NULL,
    digest TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at REAL NOT NULL,
    seal TEXT NOT NULL DEFAULT '',
    quarantined TEXT
);
CREATE INDEX ix_checkpoints_thread_id_ns_seq ON checkpoints (thread_id, ns, seq);

CREATE TABLE tasks (
    seq INTEGER NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL REFERENCES runs (run_id) ON DELETE CASCADE,
    thread_id TEXT NOT NULL,
    ns TEXT NOT NULL,
    checkpoint_id TEXT,
    path TEXT NOT NULL,
    kind TEXT NOT NULL,
    node TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority TEXT NOT NULL,
    status TEXT NOT NULL,
    arg TEXT,
    token TEXT,
    done_token TEXT,
    holder TEXT,
    slot TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    started INTEGER NOT NULL DEFAULT 0,
    recovered INTEGER NOT NULL DEFAULT 0,
    replaced INTEGER NOT NULL DEFAULT 0,
    output TEXT,
    error TEXT,
    run_at REAL,
    next_publish REAL,
    publishes INTEGER NOT NULL DEFAULT 0,
    published_at REAL,
    created_at REAL NOT NULL,
    claimed_at REAL,
    ended_at REAL,
    attempts TEXT NOT NULL DEFAULT '[]',
    dropped INTEGER NOT NULL DEFAULT 0,
    progress TEXT,
    child TEXT NOT NULL DEFAULT '',
    awaits TEXT NOT NULL DEFAULT '',
    woken INTEGER NOT NULL DEFAULT 0,
    timeout TEXT
);
CREATE INDEX ix_tasks_run_id_checkpoint_id ON tasks (run_id, checkpoint_id);
CREATE INDEX ix_tasks_ready ON tasks (next_publish, seq) WHERE status = 'ready' AND next_publish IS NOT NULL;
CREATE INDEX ix_tasks_parked ON tasks (run_at) WHERE status = 'parked' AND run_at IS NOT NULL;
CREATE INDEX ix_tasks_held ON tasks (holder, slot) WHERE token IS NOT NULL AND status IN ('claimed', 'ready');

CREATE TABLE blobs (
    thread_id TEXT NOT NULL REFERENCES threads (thread_id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    codec TEXT NOT NULL,
    data BLOB NOT NULL,
    checksum TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (thread_id, digest)
);

CREATE TABLE items (
    ns TEXT NOT NULL,
    key TEXT NOT NULL,
    codec TEXT NOT NULL,
    data BLOB NOT NULL,
    checksum TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    ttl REAL,
    expires_at REAL,
    PRIMARY KEY (ns, key)
);
CREATE INDEX ix_items_expires_at ON items (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE events (
    thread_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    codec TEXT NOT NULL,
    data BLOB NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (thread_id, seq),
    UNIQUE (thread_id, event_id)
);
CREATE INDEX ix_events_created_at ON events (created_at);

CREATE TABLE workers (
    worker_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    lease REAL NOT NULL,
    status TEXT NOT NULL,
    graphs TEXT NOT NULL,
    queues TEXT NOT NULL,
    pool TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    stats TEXT NOT NULL,
    started_at REAL NOT NULL,
    beat_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    offers TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX ix_workers_status_expires_at ON workers (status, expires_at);
