-- End attempts under their tokens: each outcome is judged on its own; one answer an outcome, in the order asked.
-- Locks: root heads in order of thread_id (each is the lock for all that settles its thread), tasks in order of
-- task_id, then what ending a run needs, thread by thread.
-- A batch that may all be lost in a power cut is committed without waiting for the disk.
-- p_outcomes is a JSON array of Outcome without blob data; blob k belongs to the outcome at position p_blob_owner[k].
CREATE OR REPLACE FUNCTION petiole_finish(
    p_holder text, p_slot text, p_outcomes jsonb, p_blob_owner integer[], p_blob_digest text[], p_blob_codec text[],
    p_blob_data bytea[], p_blob_checksum text[], p_now double precision, p_grace double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_count integer := jsonb_array_length(p_outcomes);
    v_answers text[] := '{}';
    v_ids text[];
    v_threads text[];
    v_order integer[];
    i integer;
    o jsonb;
    t record;
    v_id text;
    v_token text;
    v_ending text;
    v_settle jsonb;
    v_nest jsonb;
    v_ns text;
    v_awaits text;
    v_parks boolean;
    v_reason text;
    v_advance json;
    v_publish json;
    v_open integer;
    v_width integer;
    v_head text;
    v_run_status text;
    v_delay double precision;
    v_held_back boolean;
    v_names boolean;
    v_relaxed boolean;
BEGIN
    IF v_count = 1 THEN
        v_relaxed := (p_outcomes -> 0 ->> 'relaxed')::boolean;
        v_id := p_outcomes -> 0 ->> 'task_id';
        v_order := '{1}';
        PERFORM FROM heads h
        WHERE h.thread_id = (SELECT s.thread_id FROM tasks s WHERE s.task_id = v_id) AND h.ns = '' FOR NO KEY UPDATE OF h;
    ELSE
        SELECT array_agg(e.value ->> 'task_id'), array_agg(e.ordinality::integer ORDER BY s.thread_id, e.ordinality),
            array_agg(DISTINCT s.thread_id), bool_and(coalesce((e.value ->> 'relaxed')::boolean, false))
        INTO v_ids, v_order, v_threads, v_relaxed
        FROM jsonb_array_elements(p_outcomes) WITH ORDINALITY AS e
            LEFT JOIN tasks s ON s.task_id = e.value ->> 'task_id';
        PERFORM FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = ''
        ORDER BY h.thread_id FOR NO KEY UPDATE;
        PERFORM FROM tasks s WHERE s.task_id = ANY (v_ids) ORDER BY s.task_id FOR NO KEY UPDATE;
    END IF;
    IF v_relaxed THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;

    FOREACH i IN ARRAY v_order LOOP
        o := p_outcomes -> (i - 1);
        v_id := o ->> 'task_id';
        v_token := o ->> 'token';
        v_settle := nullif(o -> 'settle', 'null'::jsonb);
        v_nest := nullif(o -> 'nest', 'null'::jsonb);
        SELECT s.thread_id, s.ns, s.run_id, s.checkpoint_id, s.kind, s.status, s.token, s.done_token, s.priority,
            s.woken, r.status AS run_status, r.version IS NULL AND r.fingerprint IS NULL AS unnamed,
            h.checkpoint_id AS head, coalesce(h.open, 0) AS open, coalesce(h.width, 0) AS width
        INTO t
        FROM tasks s JOIN runs r ON r.run_id = s.run_id
            LEFT JOIN heads h ON h.thread_id = s.thread_id AND h.ns = s.ns
        WHERE s.task_id = v_id
        FOR NO KEY UPDATE OF s;
        IF NOT FOUND THEN
            v_answers[i] := json_build_object('task_id', v_id, 'result', 'refused', 'reason', 'missing');
            CONTINUE;
        END IF;
        IF t.done_token = v_token THEN
            v_advance := NULL;
            PERFORM FROM tasks a
            WHERE a.task_id = o ->> 'advance_id' AND a.status = 'claimed' AND a.token = o ->> 'advance_token';
            IF FOUND THEN
                v_advance := petiole_claim_record(o ->> 'advance_id');
            END IF;
            v_answers[i] := json_build_object(
                'task_id', v_id, 'result', 'already', 'open', t.open, 'run_status', t.run_status,
                'advance', v_advance);
            CONTINUE;
        END IF;
        v_reason := CASE
            WHEN t.token IS DISTINCT FROM v_token THEN 'fenced'
            WHEN t.run_status IN ('succeeded', 'failed', 'cancelled') THEN 'run ' || t.run_status
            WHEN t.status NOT IN ('claimed', 'ready') THEN 'fenced'
            WHEN v_nest IS NOT NULL AND v_nest #>> '{checkpoints,0,parent_id}' IS DISTINCT FROM (
                SELECT h.checkpoint_id FROM heads h
                WHERE h.thread_id = t.thread_id AND h.ns = v_nest #>> '{checkpoints,0,ns}') THEN 'head moved'
            WHEN v_nest IS NOT NULL AND EXISTS (
                SELECT FROM tasks s
                WHERE s.run_id = t.run_id AND s.checkpoint_id = v_nest #>> '{checkpoints,0,parent_id}'
                    AND s.ns = v_nest #>> '{checkpoints,0,ns}' AND s.status NOT IN ('done', 'cancelled')
                    AND NOT s.replaced) THEN 'busy'
            WHEN v_settle IS NULL THEN NULL
            WHEN t.kind = 'node' AND t.width <> 1 THEN 'not alone'
            WHEN t.head IS DISTINCT FROM v_settle #>> '{checkpoints,0,parent_id}' THEN 'head moved'
        END;
        IF v_reason IS NOT NULL THEN
            v_answers[i] := json_build_object(
                'task_id', v_id, 'result', 'refused', 'reason', v_reason, 'open', t.open, 'run_status', t.run_status);
            CONTINUE;
        END IF;

        IF i = ANY (p_blob_owner) THEN
            INSERT INTO blobs (thread_id, digest, codec, data, checksum, created_at)
            SELECT t.thread_id, b.digest, b.codec, b.data, b.checksum, v_now
            FROM unnest(p_blob_owner, p_blob_digest, p_blob_codec, p_blob_data, p_blob_checksum)
                AS b(owner, digest, codec, data, checksum)
            WHERE b.owner = i
            ON CONFLICT DO NOTHING;
        END IF;
        v_ending := o ->> 'ending';
        IF v_ending IN ('retry', 'parked') THEN
            v_delay := (o ->> 'delay')::double precision;
            v_awaits := coalesce(o ->> 'awaits', '');
            v_parks := v_nest IS NOT NULL OR (v_delay > 0 OR v_awaits <> '') AND NOT (v_awaits <> '' AND t.woken);
            UPDATE tasks s
            SET failures = s.failures + (v_ending = 'retry')::integer,
                error = CASE WHEN v_ending = 'retry' THEN (o ->> 'error')::jsonb ELSE s.error END,
                attempts = petiole_attempts(s, v_now, v_ending, o ->> 'error'),
                progress = coalesce((o ->> 'progress')::jsonb, s.progress),
                done_token = v_token, token = NULL, holder = NULL, slot = NULL,
                status = CASE WHEN v_parks THEN 'parked' ELSE 'ready' END,
                run_at = CASE WHEN v_parks AND v_delay > 0 THEN v_now + v_delay END,
                awaits = CASE WHEN v_parks THEN v_awaits ELSE s.awaits END,
                next_publish = CASE WHEN v_parks THEN NULL ELSE v_now + p_grace END,
                published_at = CASE WHEN v_parks THEN s.published_at ELSE v_now END,
                publishes = CASE WHEN v_parks THEN s.publishes ELSE 0 END
            WHERE s.task_id = v_id;
            IF v_nest IS NOT NULL THEN
                v_ns := v_nest #>> '{checkpoints,0,ns}';
                UPDATE tasks s SET child = v_ns WHERE s.task_id = v_id;
                INSERT INTO heads AS h (thread_id, ns, run_id, owner) VALUES (t.thread_id, v_ns, t.run_id, v_id)
                ON CONFLICT (thread_id, ns) DO UPDATE SET run_id = t.run_id, owner = v_id;
                PERFORM petiole_put_settle(
                    v_nest, t.thread_id, t.run_id, v_ns, p_holder, p_slot, t.run_status IN ('paused', 'blocked'), v_ids,
                    v_now, p_grace);
                IF t.unnamed AND coalesce(v_nest ->> 'version', v_nest ->> 'fingerprint') IS NOT NULL THEN
                    UPDATE runs r SET version = v_nest ->> 'version', fingerprint = v_nest ->> 'fingerprint'
                    WHERE r.run_id = t.run_id;
                END IF;
                v_publish := '[]';
                IF v_nest ->> 'run_status' <> 'running' THEN
                    v_publish := petiole_end_namespace(
                        t.run_id, t.thread_id, v_ns, v_nest ->> 'run_status', NULL, v_now, p_grace);
                END IF;
                SELECT h.open, r.status INTO v_open, v_run_status
                FROM heads h, runs r WHERE h.thread_id = t.thread_id AND h.ns = t.ns AND r.run_id = t.run_id;
                v_answers[i] := json_build_object(
                    'task_id', v_id, 'result', 'committed', 'open', v_open, 'run_status', v_run_status,
                    'publish', v_publish);
                CONTINUE;
            END IF;
            v_answers[i] := json_build_object(
                'task_id', v_id, 'result', 'committed', 'open', t.open, 'run_status', t.run_status);
            CONTINUE;
        END IF;
        UPDATE tasks s
        SET status = v_ending, ended_at = v_now, done_token = v_token, output = (o ->> 'output')::jsonb,
            error = (o ->> 'error')::jsonb,
            progress = CASE
                WHEN v_ending = 'interrupted' THEN coalesce((o ->> 'progress')::jsonb, s.progress) ELSE s.progress
            END
        WHERE s.task_id = v_id;
        v_open := t.open - 1;
        v_run_status := t.run_status;
        v_publish := '[]';
        v_advance := NULL;

        IF v_settle IS NOT NULL THEN
            v_head := v_settle -> 'checkpoints' -> -1 ->> 'checkpoint_id';
            v_run_status := v_settle ->> 'run_status';
            v_held_back := t.run_status IN ('paused', 'blocked');
            v_names := t.unnamed AND coalesce(v_settle ->> 'version', v_settle ->> 'fingerprint') IS NOT NULL;
            v_width := petiole_put_settle(
                v_settle, t.thread_id, t.run_id, t.ns, p_holder, p_slot, v_held_back, v_ids, v_now, p_grace);
            v_open := CASE WHEN v_run_status = 'running' THEN v_width ELSE 0 END;
            IF t.ns <> '' THEN
                IF v_names THEN
                    UPDATE runs r SET version = v_settle ->> 'version', fingerprint = v_settle ->> 'fingerprint'
                    WHERE r.run_id = t.run_id;
                END IF;
                IF v_run_status <> 'running' THEN
                    v_publish := petiole_end_namespace(
                        t.run_id, t.thread_id, t.ns, v_run_status, NULL, v_now, p_grace);
                    SELECT h.open INTO v_open FROM heads h WHERE h.thread_id = t.thread_id AND h.ns = t.ns;
                END IF;
                SELECT r.status INTO v_run_status FROM runs r WHERE r.run_id = t.run_id;
                v_answers[i] := json_build_object(
                    'task_id', v_id, 'result', 'committed', 'open', v_open, 'run_status', v_run_status,
                    'publish', v_publish);
                CONTINUE;
            END IF;
            IF v_run_status = 'running' AND v_held_back THEN
                v_run_status := t.run_status;
            END IF;
            -- One update of the run.
            UPDATE runs r
            SET status = CASE WHEN v_run_status = 'succeeded' THEN r.status ELSE v_run_status END,
                reason = CASE WHEN v_run_status = r.status THEN r.reason END,
                checkpoint_id = v_head,
                version = CASE WHEN v_names THEN v_settle ->> 'version' ELSE r.version END,
                fingerprint = CASE WHEN v_names THEN v_settle ->> 'fingerprint' ELSE r.fingerprint END
            WHERE r.run_id = t.run_id;
            IF v_run_status = 'succeeded' THEN
                v_publish := petiole_end_run(t.run_id, t.thread_id, 'succeeded', NULL, v_now, p_grace);
                -- That may have opened the thread's next run on the same head.
                SELECT h.open INTO v_open FROM heads h WHERE h.thread_id = t.thread_id AND h.ns = t.ns;
            END IF;
        ELSIF v_open = 0 THEN
            UPDATE heads h SET open = 0 WHERE h.thread_id = t.thread_id AND h.ns = t.ns;
            v_publish := petiole_close(t.run_id, t.thread_id, t.ns, t.checkpoint_id, v_now, p_grace);
            IF v_publish IS NULL THEN
                v_publish := '[]';
                INSERT INTO tasks (
                    task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, token,
                    holder, slot, attempt, started, claimed_at, created_at)
                VALUES (
                    o ->> 'advance_id', t.run_id, t.thread_id, t.ns, t.checkpoint_id, 'advance', 'advance', 'advance',
                    o ->> 'advance_queue', t.priority, 'claimed', o ->> 'advance_token', p_holder, p_slot, 1, true,
                    v_now, v_now);
                UPDATE heads h SET open = 1 WHERE h.thread_id = t.thread_id AND h.ns = t.ns;
                v_advance := petiole_claim_record(o ->> 'advance_id');
                v_open := 1;
            ELSE
                SELECT h.open, r.status INTO v_open, v_run_status
                FROM heads h, runs r WHERE h.thread_id = t.thread_id AND h.ns = t.ns AND r.run_id = t.run_id;
            END IF;
        ELSE
            UPDATE heads h SET open = v_open WHERE h.thread_id = t.thread_id AND h.ns = t.ns;
        END IF;
        v_answers[i] := json_build_object(
            'task_id', v_id, 'result', 'committed', 'open', v_open, 'run_status', v_run_status,
            'publish', v_publish, 'advance', v_advance);
    END LOOP;
    RETURN '[' || array_to_string(v_answers, ',') || ']';
END $$;
