-- Register a worker or renew its lease; one that had been declared dead takes back what nobody claimed since.
-- Locks: its row, then (only if it was dead) its tasks in order of task_id.
-- p_worker is the Worker record as JSON.
CREATE OR REPLACE FUNCTION petiole_beat(
    p_worker jsonb, p_published text[], p_now double precision, p_grace double precision, p_max_backoff double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_id text := p_worker ->> 'worker_id';
    v_status text;
    v_claims json;
BEGIN
    SELECT w.status INTO v_status FROM workers w WHERE w.worker_id = v_id FOR NO KEY UPDATE;
    INSERT INTO workers (
        worker_id, name, host, pid, lease, status, graphs, offers, queues, pool, concurrency, stats, started_at,
        beat_at, expires_at)
    VALUES (
        v_id, p_worker ->> 'name', p_worker ->> 'host', (p_worker ->> 'pid')::integer,
        (p_worker ->> 'lease')::double precision, p_worker ->> 'status', p_worker -> 'graphs',
        coalesce(p_worker -> 'offers', '{}'), p_worker -> 'queues', p_worker ->> 'pool',
        (p_worker ->> 'concurrency')::integer, p_worker -> 'stats', v_now, v_now,
        v_now + (p_worker ->> 'lease')::double precision)
    ON CONFLICT (worker_id) DO UPDATE
    SET name = excluded.name, host = excluded.host, pid = excluded.pid, lease = excluded.lease,
        status = excluded.status, graphs = excluded.graphs, offers = excluded.offers, queues = excluded.queues,
        pool = excluded.pool, concurrency = excluded.concurrency, stats = excluded.stats, beat_at = excluded.beat_at,
        expires_at = excluded.expires_at;
    IF v_status = 'dead' THEN
        PERFORM FROM tasks t WHERE t.holder = v_id AND t.token IS NOT NULL AND t.status IN ('claimed', 'ready')
        ORDER BY t.task_id FOR NO KEY UPDATE;
        UPDATE tasks t SET status = 'claimed', next_publish = NULL
        WHERE t.holder = v_id AND t.token IS NOT NULL AND t.status = 'ready';
    END IF;
    IF cardinality(p_published) > 0 THEN
        PERFORM petiole_published(p_published, v_now, p_grace, p_max_backoff);
    END IF;
    SELECT coalesce(json_agg(t.task_id ORDER BY t.task_id), '[]'::json) INTO v_claims FROM tasks t
    WHERE t.holder = v_id AND t.token IS NOT NULL AND t.status = 'claimed';
    RETURN json_build_object('now', v_now, 'revived', coalesce(v_status = 'dead', false), 'claims', v_claims);
END $$;

-- Give up the claims of a holder's slots (NULL: of all); gives the tasks that are ready again as TaskRefs.
-- Locks: with p_crashed root heads in order of thread_id; tasks in order of task_id; then what ending a run needs; the
-- worker's row.
CREATE OR REPLACE FUNCTION petiole_release(
    p_holder text, p_slots text[], p_crashed boolean, p_final boolean, p_now double precision,
    p_grace double precision, p_max_crashes integer
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_refs jsonb := '[]';
    v_charged boolean;
    v_crashes integer;
    v_open integer;
    v_ids text[];
    v_threads text[];
    v_id text;
    t tasks;
BEGIN
    IF p_crashed THEN
        v_threads := ARRAY(
            SELECT s.thread_id FROM tasks s
            WHERE s.holder = p_holder AND s.token IS NOT NULL AND s.status IN ('claimed', 'ready'));
        PERFORM FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = ''
        ORDER BY h.thread_id FOR NO KEY UPDATE;
    END IF;
    -- All of them before anything else is touched.
    v_ids := ARRAY(
        SELECT s.task_id FROM tasks s
        WHERE s.holder = p_holder AND s.token IS NOT NULL AND s.status IN ('claimed', 'ready')
            AND (p_slots IS NULL OR s.slot = ANY (p_slots))
        ORDER BY s.task_id FOR NO KEY UPDATE);
    FOREACH v_id IN ARRAY v_ids LOOP
        SELECT s.* INTO t FROM tasks s WHERE s.task_id = v_id;
        v_charged := p_crashed AND t.started;
        v_crashes := t.crashes + v_charged::integer;
        IF v_charged AND v_crashes >= p_max_crashes THEN
            UPDATE tasks s
            SET attempts = petiole_attempts(s, v_now, 'crashed', NULL), crashes = v_crashes, status = 'failed',
                ended_at = v_now, next_publish = NULL, token = NULL,
                error = jsonb_build_object(
                    'type', 'WorkerLost',
                    'message', 'its worker process died ' || v_crashes || ' times while it ran (max_crashes = '
                        || p_max_crashes || ')',
                    'node', s.node, 'attempt', s.attempt)
            WHERE s.task_id = t.task_id;
            UPDATE heads h SET open = h.open - 1 WHERE h.thread_id = t.thread_id AND h.ns = t.ns
            RETURNING h.open INTO v_open;
            IF v_open = 0 THEN
                v_refs := v_refs || coalesce(
                    petiole_close(t.run_id, t.thread_id, t.ns, t.checkpoint_id, v_now, p_grace)::jsonb, '[]');
            END IF;
        ELSE
            UPDATE tasks s
            SET attempts = petiole_attempts(s, v_now, CASE WHEN v_charged THEN 'crashed' ELSE 'released' END, NULL),
                crashes = v_crashes, status = 'ready', token = NULL, holder = NULL, slot = NULL, next_publish = v_now,
                recovered = true
            WHERE s.task_id = t.task_id
            RETURNING s.* INTO t;
            v_refs := v_refs || (
                SELECT petiole_ref_json(t, r.graph, r.version)::jsonb FROM runs r WHERE r.run_id = t.run_id);
        END IF;
    END LOOP;
    IF p_final THEN
        UPDATE workers w SET status = CASE WHEN p_crashed THEN 'dead' ELSE 'stopped' END, expires_at = v_now
        WHERE w.worker_id = p_holder;
    END IF;
    RETURN v_refs;
END $$;
