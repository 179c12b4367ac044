-- Accept runs durably: one answer a run, in the order asked.
-- Locks: threads that are new (by their insert) and root heads, each in order of thread_id; then what activating needs.
-- A thread that is removed at the same time makes this fail (foreign key, or serialization): the caller tries again.
-- p_runs is a JSON array of NewRun without blob data; blob k belongs to the run at position p_blob_owner[k] (from 1).
CREATE OR REPLACE FUNCTION petiole_submit(
    p_runs jsonb, p_blob_owner integer[], p_blob_digest text[], p_blob_codec text[], p_blob_data bytea[],
    p_blob_checksum text[], p_now double precision, p_grace double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_answers text[] := '{}';
    v_threads text[];
    v_runs text[];
    v_new jsonb;
    v_task jsonb;
    v_run_id text;
    v_thread_id text;
    v_base_id text;
    v_known record;
    v_locked bigint;
    v_active text;
    v_head text;
    v_run_at double precision;
    v_later boolean;
    v_ready boolean;
BEGIN
    SELECT array_agg(DISTINCT n.thread_id), array_agg(n.run_id) INTO v_threads, v_runs
    FROM jsonb_to_recordset(p_runs) AS n(run_id text, thread_id text);
    v_runs := ARRAY(SELECT r.run_id FROM runs r WHERE r.run_id = ANY (v_runs));
    INSERT INTO threads (thread_id, created_at)
    SELECT DISTINCT n.thread_id, v_now
    FROM jsonb_to_recordset(p_runs) AS n(run_id text, thread_id text, base_id text)
    WHERE n.base_id IS NULL AND n.run_id <> ALL (v_runs)
    ORDER BY n.thread_id
    ON CONFLICT DO NOTHING;
    INSERT INTO heads (thread_id, ns)
    SELECT th.thread_id, '' FROM threads th WHERE th.thread_id = ANY (v_threads) ORDER BY th.thread_id
    ON CONFLICT DO NOTHING;
    PERFORM FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = ''
    ORDER BY h.thread_id FOR NO KEY UPDATE;
    GET DIAGNOSTICS v_locked = ROW_COUNT;
    IF v_locked < (SELECT count(*) FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = '') THEN
        -- One was removed with its thread while this waited for it, and somebody made the thread anew.
        RAISE EXCEPTION 'a thread was removed meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    FOR i IN 1 .. jsonb_array_length(p_runs) LOOP
        v_new := p_runs -> (i - 1);
        v_run_id := v_new ->> 'run_id';
        v_thread_id := v_new ->> 'thread_id';
        v_base_id := v_new ->> 'base_id';
        SELECT r.thread_id, r.request_digest IS NOT DISTINCT FROM v_new ->> 'request_digest' AS same
        INTO v_known FROM runs r WHERE r.run_id = v_run_id;
        IF FOUND THEN
            v_answers[i] := json_build_object(
                'run_id', v_run_id, 'thread_id', v_known.thread_id,
                'result', CASE WHEN v_known.same THEN 'already' ELSE 'refused' END,
                'reason', CASE WHEN v_known.same THEN '' ELSE 'conflict' END,
                'publish', CASE WHEN v_known.same THEN petiole_ready_refs(v_run_id) ELSE '[]' END);
            CONTINUE;
        END IF;
        IF v_base_id IS NOT NULL THEN
            PERFORM FROM checkpoints c
            WHERE c.checkpoint_id = v_base_id AND c.thread_id = v_thread_id AND c.ns = '';
            IF NOT FOUND THEN
                v_answers[i] := json_build_object(
                    'run_id', v_run_id, 'thread_id', v_thread_id, 'result', 'refused', 'reason', 'no base');
                CONTINUE;
            END IF;
        END IF;
        SELECT th.active_run, h.checkpoint_id INTO v_active, v_head
        FROM threads th JOIN heads h ON h.thread_id = th.thread_id AND h.ns = ''
        WHERE th.thread_id = v_thread_id;
        IF v_active IS NOT NULL AND v_new ->> 'if_busy' = 'reject' THEN
            v_answers[i] := json_build_object(
                'run_id', v_run_id, 'thread_id', v_thread_id, 'result', 'refused', 'reason', 'busy',
                'active_run', v_active);
            CONTINUE;
        END IF;
        v_run_at := coalesce(v_now + (v_new ->> 'delay')::double precision, (v_new ->> 'run_at')::double precision);
        v_later := v_active IS NULL AND coalesce(v_run_at > v_now, false);
        v_ready := v_active IS NULL AND NOT v_later;
        INSERT INTO runs (
            run_id, thread_id, graph, status, version, fingerprint, input, base_id, idempotency_key,
            request_digest, config, tags, metadata, run_at, deadline, created_at)
        VALUES (
            v_run_id, v_thread_id, v_new ->> 'graph', CASE WHEN v_later THEN 'waiting' ELSE 'queued' END,
            v_new ->> 'version', v_new ->> 'fingerprint', (v_new ->> 'input')::jsonb, v_base_id,
            v_new ->> 'idempotency_key', v_new ->> 'request_digest', (v_new ->> 'config')::jsonb, v_new -> 'tags',
            (v_new ->> 'metadata')::jsonb, v_run_at,
            coalesce(
                greatest(v_now, v_run_at) + (v_new ->> 'lifetime')::double precision,
                (v_new ->> 'deadline')::double precision),
            v_now);
        IF i = ANY (p_blob_owner) THEN
            INSERT INTO blobs (thread_id, digest, codec, data, checksum, created_at)
            SELECT v_thread_id, b.digest, b.codec, b.data, b.checksum, v_now
            FROM unnest(p_blob_owner, p_blob_digest, p_blob_codec, p_blob_data, p_blob_checksum)
                AS b(owner, digest, codec, data, checksum)
            WHERE b.owner = i
            ON CONFLICT DO NOTHING;
        END IF;
        v_task := v_new -> 'start';
        INSERT INTO tasks (
            task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, arg,
            timeout, run_at, next_publish, published_at, created_at)
        VALUES (
            v_task ->> 'task_id', v_run_id, v_thread_id, v_task ->> 'ns',
            CASE WHEN v_active IS NULL THEN coalesce(v_base_id, v_head) END,
            v_task ->> 'path', v_task ->> 'kind', v_task ->> 'node', v_task ->> 'queue', v_task ->> 'priority',
            CASE WHEN v_ready THEN 'ready' ELSE 'parked' END, (v_task ->> 'arg')::jsonb,
            (v_task ->> 'timeout')::jsonb,
            CASE WHEN v_later THEN v_run_at END,
            CASE WHEN v_ready THEN v_now + p_grace END, CASE WHEN v_ready THEN v_now END, v_now);
        IF v_active IS NULL THEN
            UPDATE threads th SET active_run = v_run_id WHERE th.thread_id = v_thread_id;
            UPDATE heads h
            SET checkpoint_id = coalesce(v_base_id, h.checkpoint_id), run_id = v_run_id, open = 1, width = 1
            WHERE h.thread_id = v_thread_id AND h.ns = '';
        END IF;
        v_answers[i] := json_build_object(
            'run_id', v_run_id, 'thread_id', v_thread_id, 'result', 'committed',
            'publish', CASE WHEN v_ready THEN json_build_array(json_build_object(
                'task_id', v_task ->> 'task_id', 'run_id', v_run_id, 'thread_id', v_thread_id,
                'queue', v_task ->> 'queue', 'priority', v_task ->> 'priority', 'graph', v_new ->> 'graph',
                'node', v_task ->> 'node', 'version', v_new ->> 'version')) ELSE '[]' END);
    END LOOP;
    RETURN '[' || array_to_string(v_answers, ',') || ']';
END $$;
