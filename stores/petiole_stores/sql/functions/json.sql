-- Rows as the JSON that the records are decoded from; documents inside are JSON text, as the contract has them.
-- All of these are inlined into the statements that use them. They lock nothing.

-- A task as the Task record.
CREATE OR REPLACE FUNCTION petiole_task_json(t tasks) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'task_id', t.task_id, 'run_id', t.run_id, 'thread_id', t.thread_id, 'ns', t.ns,
        'checkpoint_id', t.checkpoint_id, 'path', t.path, 'kind', t.kind, 'node', t.node,
        'queue', t.queue, 'priority', t.priority, 'status', t.status, 'arg', t.arg::text, 'timeout', t.timeout::text,
        'token', t.token, 'done_token', t.done_token, 'holder', t.holder, 'slot', t.slot,
        'attempt', t.attempt, 'failures', t.failures, 'crashes', t.crashes, 'started', t.started,
        'recovered', t.recovered, 'replaced', t.replaced, 'output', t.output::text, 'error', t.error::text,
        'run_at', t.run_at, 'next_publish', t.next_publish, 'publishes', t.publishes,
        'published_at', t.published_at, 'created_at', t.created_at, 'claimed_at', t.claimed_at,
        'ended_at', t.ended_at, 'attempts', t.attempts, 'dropped', t.dropped,
        'progress', t.progress::text, 'child', t.child, 'awaits', t.awaits, 'woken', t.woken)
$$;

-- A run as the Run record.
CREATE OR REPLACE FUNCTION petiole_run_json(r runs) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'run_id', r.run_id, 'thread_id', r.thread_id, 'graph', r.graph, 'status', r.status,
        'version', r.version, 'fingerprint', r.fingerprint, 'input', r.input::text, 'base_id', r.base_id,
        'idempotency_key', r.idempotency_key, 'request_digest', r.request_digest, 'config', r.config::text,
        'tags', r.tags, 'metadata', r.metadata::text, 'error', r.error::text,
        'checkpoint_id', r.checkpoint_id, 'run_at', r.run_at, 'created_at', r.created_at,
        'started_at', r.started_at, 'ended_at', r.ended_at, 'replays', r.replays, 'seq', r.seq,
        'reason', r.reason::text, 'deadline', r.deadline)
$$;

-- A checkpoint as the Checkpointed record.
CREATE OR REPLACE FUNCTION petiole_checkpoint_json(c checkpoints) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'checkpoint_id', c.checkpoint_id, 'seq', c.seq, 'thread_id', c.thread_id, 'ns', c.ns,
        'run_id', c.run_id, 'parent_id', c.parent_id, 'step', c.step, 'source', c.source,
        'node_names', c.node_names, 'state', c.state::text, 'next', c.next::text,
        'control', c.control::text, 'metadata', c.metadata::text, 'digest', c.digest,
        'version', c.version, 'created_at', c.created_at, 'seal', c.seal, 'quarantined', c.quarantined)
$$;

-- What a message needs to know of a task, as the TaskRef record.
CREATE OR REPLACE FUNCTION petiole_ref_json(t tasks, graph text, version text) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'task_id', t.task_id, 'run_id', t.run_id, 'thread_id', t.thread_id, 'queue', t.queue,
        'priority', CASE WHEN t.recovered THEN 'high' ELSE t.priority END,
        'graph', graph, 'node', t.node, 'version', version)
$$;

-- The earlier attempts of a task with the one that ends now: the first 50 and the newest 50 (ATTEMPTS_KEPT of records.py).
CREATE OR REPLACE FUNCTION petiole_attempts(t tasks, ended_at double precision, outcome text, error text)
RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN jsonb_array_length(t.attempts) < 100 THEN t.attempts ELSE t.attempts - 50 END || jsonb_build_object(
        'attempt', t.attempt, 'holder', t.holder, 'slot', t.slot, 'claimed_at', t.claimed_at,
        'ended_at', ended_at, 'outcome', outcome, 'error', error)
$$;
