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
    v_spaces text[];
    v_stale boolean;
    v_ns text;
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
    SELECT array_agg(t.task_id), array_agg(t.ns),
        bool_or(h.run_id IS DISTINCT FROM p_run_id OR h.checkpoint_id IS DISTINCT FROM t.checkpoint_id)
    INTO v_failed, v_spaces, v_stale
    FROM tasks t LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
    WHERE t.run_id = p_run_id AND t.status = 'failed' AND NOT t.replaced;
    -- An owner that failed because of a task in its namespace only waits again.
    v_failed := ARRAY(
        SELECT t.task_id FROM tasks t
        WHERE t.task_id = ANY (v_failed) AND (t.child = '' OR t.child <> ALL (v_spaces)));
    v_reason := CASE
        WHEN r.status <> 'failed' THEN 'run ' || r.status
        WHEN r.active_run IS NOT NULL THEN 'busy'
        WHEN v_stale THEN 'head moved'
        WHEN v_failed = '{}' OR NOT (v_failed @> p_old AND v_failed <@ p_old) THEN 'stale'
    END;
    IF v_reason IS NOT NULL THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', v_reason);
    END IF;
    UPDATE tasks t SET replaced = true WHERE t.task_id = ANY (p_old);
    INSERT INTO tasks (
        task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, arg, timeout,
        progress, child, next_publish, published_at, created_at)
    SELECT d.new_id, t.run_id, t.thread_id, t.ns, t.checkpoint_id, t.path, t.kind, t.node, t.queue, t.priority, 'ready',
        t.arg, t.timeout, t.progress, t.child, v_now + p_grace, v_now, v_now
    FROM unnest(p_old, p_new) WITH ORDINALITY AS d(old_id, new_id, ord) JOIN tasks t ON t.task_id = d.old_id
    ORDER BY d.ord;
    UPDATE heads h SET owner = d.new_id
    FROM unnest(p_old, p_new) AS d(old_id, new_id) JOIN tasks t ON t.task_id = d.new_id
    WHERE t.child <> '' AND h.thread_id = r.thread_id AND h.ns = t.child AND h.owner = d.old_id;
    FOR v_ns IN SELECT t.ns FROM tasks t WHERE t.task_id = ANY (p_new) LOOP
        PERFORM petiole_reopen(r.thread_id, v_ns);
    END LOOP;
    UPDATE runs s SET status = 'queued', ended_at = NULL, error = NULL, deadline = NULL, replays = s.replays + 1
    WHERE s.run_id = p_run_id;
    UPDATE threads th SET active_run = p_run_id WHERE th.thread_id = r.thread_id;
    RETURN json_build_object('run_id', p_run_id, 'result', 'committed', 'publish', petiole_ready_refs(p_run_id));
END $$;

-- Let an interrupted run go on: its interrupted tasks become ready, or those that p_ids names (NULL: all), each if it was
-- interrupted under its p_tokens, with its p_progress.
-- Locks: the thread's root head, its tasks in order of task_id, then owners and the run.
CREATE OR REPLACE FUNCTION petiole_resume(
    p_run_id text, p_ids text[], p_tokens text[], p_progress text[], p_now double precision, p_grace double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_ids text[];
    v_spaces text[];
    v_ns text;
    r record;
BEGIN
    -- By the thread alone: joined, a planner that knows no figures may walk all heads by their ns (Postgres 18 can).
    PERFORM FROM heads h
    WHERE h.thread_id = (SELECT s.thread_id FROM runs s WHERE s.run_id = p_run_id) AND h.ns = '' FOR NO KEY UPDATE OF h;
    SELECT s.status, s.thread_id INTO r FROM runs s WHERE s.run_id = p_run_id;
    IF NOT FOUND THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', 'missing');
    ELSIF r.status IN ('queued', 'running') AND p_ids IS NULL THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'already');
    ELSIF r.status NOT IN ('queued', 'running', 'interrupted') THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', 'run ' || r.status);
    END IF;
    -- Owners that are interrupted because of a task in their namespace are not asked themselves.
    SELECT coalesce(array_agg(t.ns), '{}') INTO v_spaces FROM tasks t
    WHERE t.run_id = p_run_id AND t.status = 'interrupted';
    IF p_ids IS NOT NULL AND EXISTS (
        SELECT FROM unnest(p_ids) AS d(id) LEFT JOIN tasks t ON t.task_id = d.id AND t.run_id = p_run_id
        WHERE t.task_id IS NULL OR t.status = 'interrupted' AND t.child <> '' AND t.child = ANY (v_spaces))
    THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'refused', 'reason', 'stale');
    END IF;
    v_ids := ARRAY(
        SELECT t.task_id FROM tasks t
        WHERE t.run_id = p_run_id AND t.status = 'interrupted' AND (t.child = '' OR t.child <> ALL (v_spaces))
            AND (p_ids IS NULL OR EXISTS (
                SELECT FROM unnest(p_ids, p_tokens) AS d(id, token)
                WHERE d.id = t.task_id AND d.token = coalesce(t.done_token, '')))
        ORDER BY t.task_id FOR NO KEY UPDATE);
    IF v_ids = '{}' AND (p_ids IS NOT NULL OR r.status <> 'interrupted') THEN
        RETURN json_build_object('run_id', p_run_id, 'result', 'already');
    END IF;
    UPDATE tasks t
    SET status = 'ready', ended_at = NULL, token = NULL, holder = NULL, slot = NULL, run_at = NULL,
        next_publish = v_now + p_grace, published_at = v_now, publishes = 0
    WHERE t.task_id = ANY (v_ids);
    IF p_ids IS NOT NULL THEN
        UPDATE tasks t SET progress = d.progress::jsonb
        FROM (
            SELECT DISTINCT ON (u.id) u.id, u.progress
            FROM unnest(p_ids, p_tokens, p_progress) WITH ORDINALITY AS u(id, token, progress, ord)
                JOIN tasks s ON s.task_id = u.id
            WHERE u.token = coalesce(s.done_token, '')
            ORDER BY u.id, u.ord
        ) d
        WHERE t.task_id = d.id AND t.task_id = ANY (v_ids) AND d.progress IS NOT NULL;
    END IF;
    FOR v_ns IN SELECT t.ns FROM tasks t WHERE t.task_id = ANY (v_ids) LOOP
        PERFORM petiole_reopen(r.thread_id, v_ns);
    END LOOP;
    UPDATE runs s SET status = 'running' WHERE s.run_id = p_run_id AND s.status || '' = 'interrupted';
    RETURN json_build_object('run_id', p_run_id, 'result', 'committed', 'publish', petiole_ready_refs(p_run_id));
END $$;
