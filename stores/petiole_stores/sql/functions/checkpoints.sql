-- Insert or replace one checkpoint made by hand, which takes it out of quarantine; a new one is the head of its
-- namespace unless a run is active. A thread that is removed at the same time makes this fail: the caller tries again.
-- Locks: the thread if it is new (by its insert), its root head.
-- p_checkpoint is the NewCheckpoint record as JSON.
CREATE OR REPLACE FUNCTION petiole_save(
    p_checkpoint jsonb, p_thread_id text, p_run_id text, p_at double precision, p_blob_digest text[],
    p_blob_codec text[], p_blob_data bytea[], p_blob_checksum text[]
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_known boolean;
    c jsonb := p_checkpoint;
BEGIN
    INSERT INTO threads (thread_id, created_at) VALUES (p_thread_id, p_at) ON CONFLICT DO NOTHING;
    INSERT INTO heads (thread_id, ns) VALUES (p_thread_id, '') ON CONFLICT DO NOTHING;
    PERFORM FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = '' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the thread was removed meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO blobs (thread_id, digest, codec, data, checksum, created_at)
    SELECT p_thread_id, b.digest, b.codec, b.data, b.checksum, p_at
    FROM unnest(p_blob_digest, p_blob_codec, p_blob_data, p_blob_checksum) AS b(digest, codec, data, checksum)
    ON CONFLICT DO NOTHING;
    v_known := EXISTS (SELECT FROM checkpoints s WHERE s.checkpoint_id = c ->> 'checkpoint_id');
    INSERT INTO checkpoints (
        checkpoint_id, thread_id, ns, run_id, parent_id, step, source, node_names, state, next, control, metadata,
        digest, version, created_at, seal)
    VALUES (
        c ->> 'checkpoint_id', p_thread_id, c ->> 'ns', p_run_id, c ->> 'parent_id', (c ->> 'step')::integer,
        c ->> 'source', c -> 'node_names', (c ->> 'state')::jsonb, (c ->> 'next')::jsonb, (c ->> 'control')::jsonb,
        (c ->> 'metadata')::jsonb, c ->> 'digest', (c ->> 'version')::integer, p_at, coalesce(c ->> 'seal', ''))
    ON CONFLICT (checkpoint_id) DO UPDATE
    SET thread_id = excluded.thread_id, ns = excluded.ns, run_id = excluded.run_id, parent_id = excluded.parent_id,
        step = excluded.step, source = excluded.source, node_names = excluded.node_names, state = excluded.state,
        next = excluded.next, control = excluded.control, metadata = excluded.metadata, digest = excluded.digest,
        version = excluded.version, created_at = excluded.created_at, seal = excluded.seal, quarantined = NULL;
    IF NOT v_known AND EXISTS (
        SELECT FROM threads th WHERE th.thread_id = p_thread_id AND th.active_run IS NULL)
    THEN
        INSERT INTO heads (thread_id, ns, checkpoint_id) VALUES (p_thread_id, c ->> 'ns', c ->> 'checkpoint_id')
        ON CONFLICT (thread_id, ns) DO UPDATE SET checkpoint_id = excluded.checkpoint_id;
    END IF;
    RETURN 'true';
END $$;

-- Remove one checkpoint and mend the head (its parent, else the newest left); false: a run is active, nothing is done.
-- Locks: the thread's root head, then what it removes.
CREATE OR REPLACE FUNCTION petiole_delete(p_checkpoint_id text) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    c record;
BEGIN
    PERFORM FROM heads h
    WHERE h.thread_id = (SELECT s.thread_id FROM checkpoints s WHERE s.checkpoint_id = p_checkpoint_id) AND h.ns = ''
    FOR NO KEY UPDATE OF h;
    SELECT s.thread_id, s.ns, s.parent_id, th.active_run INTO c
    FROM checkpoints s JOIN threads th ON th.thread_id = s.thread_id WHERE s.checkpoint_id = p_checkpoint_id;
    IF NOT FOUND THEN
        RETURN 'true';
    ELSIF c.active_run IS NOT NULL THEN
        RETURN 'false';
    END IF;
    DELETE FROM checkpoints s WHERE s.checkpoint_id = p_checkpoint_id;
    UPDATE heads h
    SET checkpoint_id = coalesce(
        (SELECT s.checkpoint_id FROM checkpoints s
            WHERE s.checkpoint_id = c.parent_id AND s.thread_id = c.thread_id AND s.ns = c.ns),
        (SELECT s.checkpoint_id FROM checkpoints s
            WHERE s.thread_id = c.thread_id AND s.ns = c.ns ORDER BY s.seq DESC LIMIT 1))
    WHERE h.thread_id = c.thread_id AND h.ns = c.ns AND h.checkpoint_id = p_checkpoint_id;
    RETURN 'true';
END $$;

-- Remove a thread's checkpoints, heads and blobs; false: a run is active, nothing is done.
-- Locks: the thread's root head (it is emptied, not removed: it is the lock that others may be waiting for).
CREATE OR REPLACE FUNCTION petiole_clear(p_thread_id text) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
BEGIN
    PERFORM FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = '' FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM threads th WHERE th.thread_id = p_thread_id AND th.active_run IS NOT NULL) THEN
        RETURN 'false';
    END IF;
    DELETE FROM checkpoints s WHERE s.thread_id = p_thread_id;
    DELETE FROM heads h WHERE h.thread_id = p_thread_id AND h.ns <> '';
    UPDATE heads h SET checkpoint_id = NULL, run_id = NULL, open = 0, width = 0 WHERE h.thread_id = p_thread_id;
    DELETE FROM blobs b WHERE b.thread_id = p_thread_id;
    RETURN 'true';
END $$;
