-- Hold runs back, as p_status (paused or blocked) says, for a reason; one answer a run, in the order asked.
-- Locks: root heads in order of thread_id, then runs in order of thread_id and run_id. A claim that is under way at the
-- same time counts as made before.
CREATE OR REPLACE FUNCTION petiole_hold_back(p_ids text[], p_status text, p_kind text, p_reason text) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_answers text[] := '{}';
    v_threads text[];
    v_reason text;
    i integer;
    r record;
BEGIN
    v_threads := ARRAY(SELECT s.thread_id FROM runs s WHERE s.run_id = ANY (p_ids));
    PERFORM FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = ''
    ORDER BY h.thread_id FOR NO KEY UPDATE;
    PERFORM FROM runs s WHERE s.run_id = ANY (p_ids) ORDER BY s.thread_id, s.run_id FOR NO KEY UPDATE;
    FOR i IN 1 .. cardinality(p_ids) LOOP
        SELECT s.status, th.active_run INTO r
        FROM runs s JOIN threads th ON th.thread_id = s.thread_id WHERE s.run_id = p_ids[i];
        v_reason := CASE
            WHEN NOT FOUND THEN 'missing'
            WHEN r.status = p_status THEN NULL
            WHEN r.status NOT IN ('queued', 'running', 'waiting') AND (r.status, p_status) <> ('blocked', 'paused')
                THEN 'run ' || r.status
            WHEN r.active_run IS DISTINCT FROM p_ids[i] THEN 'not active'
        END;
        IF v_reason IS NOT NULL THEN
            v_answers[i] := json_build_object('run_id', p_ids[i], 'result', 'refused', 'reason', v_reason);
        ELSIF r.status = p_status THEN
            v_answers[i] := json_build_object('run_id', p_ids[i], 'result', 'already');
        ELSE
            UPDATE runs s
            SET status = p_status, reason = jsonb_build_object('type', p_kind, 'message', p_reason)
            WHERE s.run_id = p_ids[i];
            v_answers[i] := json_build_object('run_id', p_ids[i], 'result', 'committed');
        END IF;
    END LOOP;
    RETURN '[' || array_to_string(v_answers, ',') || ']';
END $$;

-- Let runs go on that are held back as p_status says; one answer a run, in the order asked.
-- Locks: root heads in order of thread_id, the runs' ready and parked tasks in order of task_id (a sweep that wakes one at
-- the same time is waited for), then runs.
CREATE OR REPLACE FUNCTION petiole_let_go(p_ids text[], p_status text, p_now double precision) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_answers text[] := '{}';
    v_threads text[];
    v_reason text;
    v_asleep boolean;
    i integer;
    r record;
BEGIN
    v_threads := ARRAY(SELECT s.thread_id FROM runs s WHERE s.run_id = ANY (p_ids));
    PERFORM FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = ''
    ORDER BY h.thread_id FOR NO KEY UPDATE;
    PERFORM FROM tasks t WHERE t.run_id = ANY (p_ids) AND t.status IN ('ready', 'parked')
    ORDER BY t.task_id FOR NO KEY UPDATE;
    PERFORM FROM runs s WHERE s.run_id = ANY (p_ids) ORDER BY s.thread_id, s.run_id FOR NO KEY UPDATE;
    FOR i IN 1 .. cardinality(p_ids) LOOP
        SELECT s.status, s.started_at INTO r FROM runs s WHERE s.run_id = p_ids[i];
        v_reason := CASE
            WHEN NOT FOUND THEN 'missing'
            WHEN r.status IN ('queued', 'running', 'waiting') THEN NULL
            WHEN r.status <> p_status THEN 'run ' || r.status
        END;
        IF v_reason IS NOT NULL THEN
            v_answers[i] := json_build_object('run_id', p_ids[i], 'result', 'refused', 'reason', v_reason);
        ELSIF r.status <> p_status THEN
            v_answers[i] := json_build_object('run_id', p_ids[i], 'result', 'already');
        ELSE
            SELECT t.status = 'parked' AND t.run_at IS NOT NULL INTO v_asleep FROM tasks t
            WHERE t.run_id = p_ids[i] ORDER BY t.seq LIMIT 1;
            UPDATE runs s
            SET reason = NULL, status = CASE
                WHEN s.started_at IS NOT NULL THEN 'running'
                WHEN v_asleep THEN 'waiting'
                ELSE 'queued'
            END
            WHERE s.run_id = p_ids[i];
            UPDATE tasks t SET next_publish = v_now WHERE t.run_id = p_ids[i] AND t.status = 'ready';
            v_answers[i] := json_build_object(
                'run_id', p_ids[i], 'result', 'committed', 'publish', petiole_ready_refs(p_ids[i]));
        END IF;
    END LOOP;
    RETURN '[' || array_to_string(v_answers, ',') || ']';
END $$;
