-- Settle runs as cancelled with all their open tasks; one answer a run, in the order asked.
-- Locks: root heads in order of thread_id, the runs' open tasks in order of task_id, then what ending a run needs.
CREATE OR REPLACE FUNCTION petiole_cancel(
    p_ids text[], p_reason text, p_now double precision, p_grace double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_answers text[] := '{}';
    v_order integer[];
    v_threads text[];
    v_id text;
    i integer;
    r record;
BEGIN
    v_threads := ARRAY(SELECT s.thread_id FROM runs s WHERE s.run_id = ANY (p_ids));
    PERFORM FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = ''
    ORDER BY h.thread_id FOR NO KEY UPDATE;
    PERFORM FROM tasks t
    WHERE t.run_id = ANY (p_ids) AND t.status IN ('ready', 'claimed', 'parked', 'interrupted')
    ORDER BY t.task_id FOR NO KEY UPDATE;
    SELECT array_agg(d.ord::integer ORDER BY s.thread_id, d.ord) INTO v_order
    FROM unnest(p_ids) WITH ORDINALITY AS d(id, ord) LEFT JOIN runs s ON s.run_id = d.id;
    FOREACH i IN ARRAY v_order LOOP
        v_id := p_ids[i];
        SELECT s.status, s.thread_id INTO r FROM runs s WHERE s.run_id = v_id;
        IF NOT FOUND THEN
            v_answers[i] := json_build_object('run_id', v_id, 'result', 'refused', 'reason', 'missing');
        ELSIF r.status = 'cancelled' THEN
            v_answers[i] := json_build_object('run_id', v_id, 'result', 'already');
        ELSIF r.status IN ('succeeded', 'failed') THEN
            v_answers[i] := json_build_object('run_id', v_id, 'result', 'refused', 'reason', 'run ' || r.status);
        ELSE
            UPDATE tasks t SET status = 'cancelled', ended_at = v_now, next_publish = NULL, run_at = NULL
            WHERE t.run_id = v_id AND t.status IN ('ready', 'claimed', 'parked', 'interrupted');
            UPDATE heads h SET open = 0 WHERE h.thread_id = r.thread_id AND h.run_id = v_id;
            v_answers[i] := json_build_object(
                'run_id', v_id, 'result', 'committed',
                'publish', petiole_end_run(
                    v_id, r.thread_id, 'cancelled',
                    CASE WHEN p_reason <> '' THEN jsonb_build_object('type', 'Cancelled', 'message', p_reason) END,
                    v_now, p_grace));
        END IF;
    END LOOP;
    RETURN '[' || array_to_string(v_answers, ',') || ']';
END $$;

-- Let a failed run go on: each failed task of its open superstep is replaced by a new one.
-- Locks: the thread's root head, its tasks, then runs and threads.
CREATE OR REPLACE FUNCTION petiole_replay(
    p_run_id text, p_old text[], p_new text[], p_now double precision, p_grace double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_failed text[];
    v_stale boolean;
    v_reason text;
    r record;
BEGIN
    -- By the thread alone: joined, a planner that knows no figures may walk all heads by their ns (Postgres 18 can).
    PERFORM FROM heads h
    WHERE h.thread_id = (SELECT s.thread_id FROM runs s WHERE s.run_id = p_run_id) AND h.ns = '' FOR NO KEY UPDATE OF h;
    SELECT s.status, s.thread_id, th.active_run INTO r
    FROM runs s JOIN threads th ON th.thread_id = s.thread_id WHERE s.run_id = p_run_id;
    IF NOT FOUND THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', 'missing');
    END IF;
    PERFORM FROM tasks t WHERE t.task_id = p_new[1];
    IF FOUND THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'already');
    END IF;
    SELECT array_agg(t.task_id),
        bool_or(h.run_id IS DISTINCT FROM p_run_id OR h.checkpoint_id IS DISTINCT FROM t.checkpoint_id)
    INTO v_failed, v_stale
    FROM tasks t LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
    WHERE t.run_id = p_run_id AND t.status = 'failed' AND NOT t.replaced;
    v_reason := CASE
        WHEN r.status <> 'failed' THEN 'run ' || r.status
        WHEN r.active_run IS NOT NULL THEN 'busy'
        WHEN v_stale THEN 'head moved'
        WHEN v_failed IS NULL OR NOT (v_failed @> p_old AND v_failed <@ p_old) THEN 'stale'
    END;
    IF v_reason IS NOT NULL THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', v_reason);
    END IF;
    UPDATE tasks t SET replaced = true WHERE t.task_id = ANY (p_old);
    INSERT INTO tasks (
        task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, arg, progress,
        next_publish, published_at, created_at)
    SELECT d.new_id, t.run_id, t.thread_id, t.ns, t.checkpoint_id, t.path, t.kind, t.node, t.queue, t.priority, 'ready',
        t.arg, t.progress, v_now + p_grace, v_now, v_now
    FROM unnest(p_old, p_new) WITH ORDINALITY AS d(old_id, new_id, ord) JOIN tasks t ON t.task_id = d.old_id
    ORDER BY d.ord;
    UPDATE heads h SET open = h.open + d.count
    FROM (SELECT t.ns, count(*) AS count FROM tasks t WHERE t.task_id = ANY (p_new) GROUP BY t.ns) d
    WHERE h.thread_id = r.thread_id AND h.ns = d.ns;
    UPDATE runs s SET status = 'queued', ended_at = NULL, error = NULL, deadline = NULL, replays = s.replays + 1
    WHERE s.run_id = p_run_id;
    UPDATE threads th SET active_run = p_run_id WHERE th.thread_id = r.thread_id;
    RETURN json_build_object('run_id', p_run_id, 'result', 'committed', 'publish', petiole_ready_refs(p_run_id));
END $$;

-- Let an interrupted run go on: its interrupted tasks become ready.
-- Locks: the thread's root head, its tasks in order of task_id, then the run.
CREATE OR REPLACE FUNCTION petiole_resume(p_run_id text, p_now double precision, p_grace double precision)
RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    r record;
BEGIN
    -- By the thread alone: joined, a planner that knows no figures may walk all heads by their ns (Postgres 18 can).
    PERFORM FROM heads h
    WHERE h.thread_id = (SELECT s.thread_id FROM runs s WHERE s.run_id = p_run_id) AND h.ns = '' FOR NO KEY UPDATE OF h;
    SELECT s.status, s.thread_id INTO r FROM runs s WHERE s.run_id = p_run_id;
    IF NOT FOUND THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', 'missing');
    ELSIF r.status IN ('queued', 'running') THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'already');
    ELSIF r.status <> 'interrupted' THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', 'run ' || r.status);
    END IF;
    UPDATE heads h SET open = h.open + d.count
    FROM (
        SELECT t.ns, count(*) AS count FROM tasks t
        WHERE t.run_id = p_run_id AND t.status = 'interrupted' GROUP BY t.ns
    ) d
    WHERE h.thread_id = r.thread_id AND h.ns = d.ns;
    PERFORM FROM tasks t WHERE t.run_id = p_run_id AND t.status = 'interrupted' ORDER BY t.task_id FOR NO KEY UPDATE;
    UPDATE tasks t
    SET status = 'ready', ended_at = NULL, token = NULL, holder = NULL, slot = NULL, run_at = NULL,
        next_publish = v_now + p_grace, published_at = v_now, publishes = 0
    WHERE t.run_id = p_run_id AND t.status = 'interrupted';
    UPDATE runs s SET status = 'running' WHERE s.run_id = p_run_id;
    RETURN json_build_object('run_id', p_run_id, 'result', 'committed', 'publish', petiole_ready_refs(p_run_id));
END $$;
