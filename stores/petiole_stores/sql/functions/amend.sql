-- Put checkpoints made by hand at the head of a thread's namespace; the tasks that come after take the place of the active
-- run's. p_amendment is the Amendment record as JSON without blobs.
-- Locks: the thread if it is new (by its insert), its root head, the tasks of the run that are not over in order of task_id,
-- then owners and what ending a run needs.
CREATE OR REPLACE FUNCTION petiole_amend(
    p_amendment jsonb, p_blob_digest text[], p_blob_codec text[], p_blob_data bytea[], p_blob_checksum text[],
    p_now double precision, p_grace double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_thread_id text := p_amendment ->> 'thread_id';
    v_ns text := p_amendment ->> 'ns';
    v_parent text := p_amendment #>> '{checkpoints,0,parent_id}';
    v_run_id text;
    v_status text;
    v_head text;
    v_reason text;
    v_waited boolean;
    v_width integer := jsonb_array_length(p_amendment -> 'tasks');
    v_publish json := '[]';
BEGIN
    PERFORM FROM heads h WHERE h.thread_id = v_thread_id AND h.ns = '' FOR NO KEY UPDATE;
    IF NOT FOUND AND v_parent IS NULL AND v_width = 0 AND p_amendment ->> 'head_id' IS NULL THEN
        INSERT INTO threads (thread_id, created_at) VALUES (v_thread_id, v_now) ON CONFLICT DO NOTHING;
        INSERT INTO heads (thread_id, ns) VALUES (v_thread_id, '') ON CONFLICT DO NOTHING;
        PERFORM FROM heads h WHERE h.thread_id = v_thread_id AND h.ns = '' FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the thread was removed meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    SELECT r.run_id, r.status INTO v_run_id, v_status
    FROM threads th JOIN runs r ON r.run_id = th.active_run WHERE th.thread_id = v_thread_id;
    IF EXISTS (
        SELECT FROM checkpoints c WHERE c.checkpoint_id = p_amendment -> 'checkpoints' -> -1 ->> 'checkpoint_id')
    THEN
        RETURN json_build_object('run_id', coalesce(v_run_id, ''), 'result', 'already');
    END IF;
    PERFORM FROM tasks t
    WHERE t.run_id = v_run_id AND t.status IN ('ready', 'claimed', 'parked', 'interrupted')
    ORDER BY t.task_id FOR NO KEY UPDATE;
    SELECT h.checkpoint_id INTO v_head FROM heads h WHERE h.thread_id = v_thread_id AND h.ns = v_ns;
    v_waited := v_run_id IS NOT NULL AND petiole_is_waited_for(v_run_id, v_thread_id, v_ns);
    v_reason := CASE
        WHEN v_status NOT IN ('interrupted', 'paused') THEN 'busy'
        WHEN v_status = 'paused' AND EXISTS (
            SELECT FROM tasks t
            WHERE t.run_id = v_run_id AND (t.status = 'claimed' OR t.status = 'ready' AND t.token IS NOT NULL)) THEN 'busy'
        WHEN v_parent IS NOT NULL AND NOT EXISTS (
            SELECT FROM checkpoints c
            WHERE c.checkpoint_id = v_parent AND c.thread_id = v_thread_id AND c.ns = v_ns) THEN 'no base'
        WHEN v_head IS DISTINCT FROM p_amendment ->> 'head_id' THEN 'head moved'
        WHEN v_width > 0 AND NOT v_waited THEN 'no run'
    END;
    IF v_reason IS NOT NULL THEN
        RETURN json_build_object('run_id', coalesce(v_run_id, ''), 'result', 'refused', 'reason', v_reason);
    END IF;
    INSERT INTO blobs (thread_id, digest, codec, data, checksum, created_at)
    SELECT v_thread_id, b.digest, b.codec, b.data, b.checksum, v_now
    FROM unnest(p_blob_digest, p_blob_codec, p_blob_data, p_blob_checksum) AS b(digest, codec, data, checksum)
    ON CONFLICT DO NOTHING;
    INSERT INTO heads (thread_id, ns) VALUES (v_thread_id, v_ns) ON CONFLICT DO NOTHING;
    IF v_waited THEN
        PERFORM petiole_withdraw(v_run_id, v_thread_id, v_ns, v_now);
        PERFORM petiole_put_settle(
            jsonb_build_object(
                'checkpoints', p_amendment -> 'checkpoints',
                'run_status', CASE WHEN v_status = 'paused' THEN 'running' ELSE v_status END,
                'tasks', (
                    SELECT coalesce(jsonb_agg((n.task - 'token') || jsonb_build_object(
                        'status', CASE WHEN v_status = 'interrupted' THEN v_status ELSE 'ready' END) ORDER BY n.ord), '[]')
                    FROM jsonb_array_elements(p_amendment -> 'tasks') WITH ORDINALITY AS n(task, ord))),
            v_thread_id, v_run_id, v_ns, NULL, NULL, false, NULL, v_now, p_grace);
        UPDATE heads h SET run_id = v_run_id WHERE h.thread_id = v_thread_id AND h.ns = v_ns;
        IF v_ns = '' THEN
            UPDATE runs r SET checkpoint_id = p_amendment -> 'checkpoints' -> -1 ->> 'checkpoint_id'
            WHERE r.run_id = v_run_id;
        END IF;
        IF v_width = 0 OR v_status <> 'interrupted' THEN
            IF v_ns <> '' THEN
                PERFORM petiole_wait_again(v_thread_id, v_ns);
                UPDATE runs r SET status = 'running' WHERE r.run_id = v_run_id AND r.status || '' = 'interrupted';
            END IF;
            v_publish := CASE
                WHEN v_width > 0 THEN petiole_ready_refs(v_run_id)
                ELSE petiole_end_namespace(v_run_id, v_thread_id, v_ns, 'succeeded', NULL, v_now, p_grace)
            END;
        END IF;
    ELSE
        INSERT INTO checkpoints (
            checkpoint_id, thread_id, ns, run_id, parent_id, step, source, node_names, state, next, control, metadata,
            digest, version, created_at, seal)
        SELECT n.checkpoint_id, v_thread_id, n.ns, v_run_id, n.parent_id, n.step, n.source, n.node_names, n.state::jsonb,
            n.next::jsonb, n.control::jsonb, n.metadata::jsonb, n.digest, n.version, v_now, coalesce(n.seal, '')
        FROM jsonb_to_recordset(p_amendment -> 'checkpoints') AS n(
            checkpoint_id text, parent_id text, ns text, step integer, source text, node_names jsonb, state text,
            next text, control text, metadata text, digest text, version integer, seal text);
        UPDATE heads h SET checkpoint_id = p_amendment -> 'checkpoints' -> -1 ->> 'checkpoint_id'
        WHERE h.thread_id = v_thread_id AND h.ns = v_ns;
    END IF;
    RETURN json_build_object('run_id', coalesce(v_run_id, ''), 'result', 'committed', 'publish', v_publish);
END $$;

-- Whether the end of a namespace would be the end of the run, or of a wait of one of its tasks. Locks nothing.
CREATE OR REPLACE FUNCTION petiole_is_waited_for(p_run_id text, p_thread_id text, p_ns text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    t tasks;
BEGIN
    IF p_ns = '' THEN
        RETURN true;
    END IF;
    SELECT s.* INTO t FROM tasks s
    WHERE s.task_id = (SELECT h.owner FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = p_ns);
    IF NOT FOUND OR t.run_id <> p_run_id OR t.child <> p_ns THEN
        RETURN false;
    ELSIF t.status = 'interrupted' THEN
        RETURN EXISTS (
            SELECT FROM tasks s WHERE s.run_id = p_run_id AND s.ns = p_ns AND s.status = 'interrupted');
    END IF;
    RETURN t.status = 'parked' AND t.run_at IS NULL AND t.awaits = '';
END $$;

-- Take off what is not over, or failed, of a namespace and of those below it. Locks nothing that is not locked yet.
CREATE OR REPLACE FUNCTION petiole_withdraw(p_run_id text, p_thread_id text, p_ns text, p_now double precision)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_child text;
BEGIN
    FOR v_child IN
        SELECT t.child FROM tasks t
        WHERE t.run_id = p_run_id AND t.ns = p_ns AND t.child <> '' AND t.status NOT IN ('done', 'cancelled')
            AND NOT t.replaced
    LOOP
        PERFORM petiole_withdraw(p_run_id, p_thread_id, v_child, p_now);
        UPDATE heads h SET open = 0 WHERE h.thread_id = p_thread_id AND h.ns = v_child;
    END LOOP;
    UPDATE tasks t
    SET replaced = true,
        status = CASE WHEN t.status = 'failed' THEN t.status ELSE 'cancelled' END,
        ended_at = CASE WHEN t.status = 'failed' THEN t.ended_at ELSE p_now END,
        next_publish = CASE WHEN t.status = 'failed' THEN t.next_publish END,
        run_at = CASE WHEN t.status = 'failed' THEN t.run_at END
    WHERE t.run_id = p_run_id AND t.ns = p_ns AND t.status NOT IN ('done', 'cancelled') AND NOT t.replaced;
END $$;

-- Let the owner of a namespace that had ended wait for it again. Locks: owners, as petiole_end_namespace.
CREATE OR REPLACE FUNCTION petiole_wait_again(p_thread_id text, p_ns text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_above text;
BEGIN
    UPDATE tasks t SET status = 'parked', ended_at = NULL, error = NULL, run_at = NULL
    WHERE t.task_id = (SELECT h.owner FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = p_ns)
        AND t.status || '' IN ('done', 'failed', 'interrupted', 'cancelled')
    RETURNING t.ns INTO v_above;
    IF FOUND THEN
        PERFORM petiole_reopen(p_thread_id, v_above);
    END IF;
END $$;

-- Make ready, due at once, what waits for a signal in the thread's active run; gives it as TaskRefs. What is claimed, or
-- ready under a token, is marked: it may be about to wait.
-- Locks: the thread's root head, the tasks in order of task_id.
CREATE OR REPLACE FUNCTION petiole_wake(p_thread_id text, p_name text, p_now double precision) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_run_id text;
    v_ids text[];
    v_refs json;
BEGIN
    PERFORM FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = '' FOR NO KEY UPDATE;
    SELECT th.active_run INTO v_run_id FROM threads th WHERE th.thread_id = p_thread_id;
    v_ids := ARRAY(
        SELECT t.task_id FROM tasks t
        WHERE t.run_id = v_run_id AND (
            t.status = 'parked' AND t.awaits = p_name OR t.status = 'claimed' OR t.status = 'ready' AND t.token IS NOT NULL)
        ORDER BY t.task_id FOR NO KEY UPDATE);
    UPDATE tasks t SET woken = true WHERE t.task_id = ANY (v_ids) AND t.status || '' <> 'parked';
    WITH woken AS (
        UPDATE tasks t
        SET status = 'ready', run_at = NULL, awaits = '', next_publish = v_now, published_at = v_now, publishes = 0
        WHERE t.task_id = ANY (v_ids) AND t.status || '' = 'parked'
        RETURNING t.*
    )
    SELECT coalesce(json_agg(petiole_ref_json(w::tasks, r.graph, r.version) ORDER BY w.seq), '[]'::json) INTO v_refs
    FROM woken w JOIN runs r ON r.run_id = w.run_id;
    RETURN v_refs;
END $$;
