-- Ready tasks of runs that may go on, by queue and effective priority. Locks nothing.
CREATE OR REPLACE FUNCTION petiole_backlogs(p_now double precision) RETURNS text
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = on AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
BEGIN
    RETURN (
        SELECT coalesce(json_agg(b ORDER BY b.queue, b.priority), '[]'::json)
        FROM (
            SELECT t.queue, CASE WHEN t.recovered THEN 'high' ELSE t.priority END COLLATE "C" AS priority,
                count(*) AS ready, count(*) FILTER (WHERE t.next_publish <= v_now) AS due, min(t.created_at) AS oldest
            FROM tasks t JOIN runs r ON r.run_id = t.run_id
            WHERE t.status = 'ready' AND t.next_publish IS NOT NULL AND r.status || '' IN ('queued', 'running')
            GROUP BY 1, 2
        ) b
    );
END $$;

-- Declare dead the workers whose lease is over, free what is claimed by no living holder, wake timers that are due, end
-- runs whose deadline is over, and count what waits.
-- Locks: of runs that are late, root heads and tasks; workers, tasks in order of task_id, then runs. All but the late
-- runs' tasks are skipped where somebody else holds them: another sweep sees to them, or the next one.
CREATE OR REPLACE FUNCTION petiole_sweep(
    p_observed double precision, p_now double precision, p_grace double precision, p_kept double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_died text[];
    v_orphans text[];
    v_timers text[];
    v_runs text[];
    v_late text[];
    v_woken integer := 0;
BEGIN
    v_late := petiole_late_runs(v_now);
    WITH died AS (
        UPDATE workers w SET status = 'dead'
        FROM (
            SELECT s.worker_id FROM workers s
            WHERE s.status IN ('alive', 'stopping') AND s.expires_at < v_now AND p_observed >= s.lease
            FOR NO KEY UPDATE SKIP LOCKED
        ) s
        WHERE w.worker_id = s.worker_id
        RETURNING w.worker_id
    )
    SELECT array_agg(d.worker_id ORDER BY d.worker_id) INTO v_died FROM died d;
    SELECT array_agg(s.task_id) INTO v_orphans FROM (
        SELECT t.task_id FROM tasks t
        WHERE t.status = 'claimed' AND t.token IS NOT NULL AND NOT EXISTS (
            SELECT FROM workers w WHERE w.worker_id = t.holder AND w.status IN ('alive', 'stopping'))
        ORDER BY t.task_id FOR NO KEY UPDATE SKIP LOCKED
    ) s;
    IF v_orphans IS NOT NULL THEN
        UPDATE tasks t SET status = 'ready', next_publish = v_now, recovered = true
        WHERE t.task_id = ANY (v_orphans) AND t.status = 'claimed' AND NOT EXISTS (
            SELECT FROM workers w WHERE w.worker_id = t.holder AND w.status IN ('alive', 'stopping'));
    END IF;
    DELETE FROM workers w
    WHERE w.worker_id IN (
        SELECT s.worker_id FROM workers s WHERE s.status IN ('dead', 'stopped') AND s.expires_at < v_now - p_kept
            AND s.worker_id <> ALL (coalesce(v_died, '{}'))
        FOR UPDATE SKIP LOCKED);

    SELECT array_agg(s.task_id) INTO v_timers FROM (
        SELECT t.task_id FROM tasks t WHERE t.status = 'parked' AND t.run_at <= v_now
        ORDER BY t.task_id FOR NO KEY UPDATE SKIP LOCKED
    ) s;
    IF v_timers IS NOT NULL THEN
        UPDATE tasks t
        SET status = 'ready', run_at = NULL, next_publish = v_now, published_at = v_now, publishes = 0
        WHERE t.task_id = ANY (v_timers);
        v_woken := cardinality(v_timers);
        v_runs := ARRAY(SELECT t.run_id FROM tasks t WHERE t.task_id = ANY (v_timers));
        PERFORM FROM runs r
        WHERE r.run_id = ANY (v_runs) AND r.status || '' = 'waiting'
        ORDER BY r.thread_id, r.run_id FOR NO KEY UPDATE;
        UPDATE runs r SET status = 'queued'
        WHERE r.run_id = ANY (v_runs) AND r.status || '' = 'waiting';
    END IF;
    PERFORM petiole_expire(v_late, v_now, p_grace);
    RETURN json_build_object(
        'now', v_now, 'died', to_json(coalesce(v_died, '{}')), 'woken', v_woken, 'expired', to_json(v_late),
        'backlogs', petiole_backlogs(v_now)::json);
END $$;

-- Pick ready tasks to publish, oldest next_publish first, and push each one's next_publish on by its backoff.
-- Locks the picked tasks, skipping those that others hold: any number of sweeps never pick one twice.
CREATE OR REPLACE FUNCTION petiole_due(
    p_limit integer, p_queue text, p_priority text, p_published_before double precision, p_now double precision,
    p_grace double precision, p_max_backoff double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_ids text[];
    v_until double precision := CASE WHEN p_published_before IS NULL THEN v_now ELSE 'infinity' END;
BEGIN
    SELECT array_agg(d.task_id) INTO v_ids FROM (
        SELECT t.task_id FROM tasks t JOIN runs r ON r.run_id = t.run_id
        WHERE t.status = 'ready' AND t.next_publish <= v_until AND r.status || '' IN ('queued', 'running')
            AND (t.next_publish <= v_now OR coalesce(t.published_at, 0) < p_published_before)
            AND (p_queue IS NULL OR t.queue = p_queue)
            AND (p_priority IS NULL OR CASE WHEN t.recovered THEN 'high' ELSE t.priority END = p_priority)
        ORDER BY t.next_publish, t.seq
        LIMIT p_limit
        FOR NO KEY UPDATE OF t SKIP LOCKED
    ) d;
    IF v_ids IS NULL THEN
        RETURN '[]';
    END IF;
    UPDATE tasks t
    SET publishes = t.publishes + 1, published_at = v_now,
        next_publish = v_now + least(p_grace * 2 ^ least(t.publishes + 1, 30), p_max_backoff)
    WHERE t.task_id = ANY (v_ids);
    RETURN (
        SELECT json_agg(petiole_ref_json(t, r.graph, r.version) ORDER BY d.ord)
        FROM unnest(v_ids) WITH ORDINALITY AS d(id, ord)
            JOIN tasks t ON t.task_id = d.id JOIN runs r ON r.run_id = t.run_id);
END $$;

-- Set the next publishing of ready tasks to p_delay seconds from now. Locks tasks in order of task_id.
CREATE OR REPLACE FUNCTION petiole_postpone(p_ids text[], p_delay double precision, p_now double precision)
RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_then double precision := coalesce(p_now, extract(epoch FROM clock_timestamp())) + p_delay;
    v_ids text[] := ARRAY(
        SELECT t.task_id FROM tasks t WHERE t.task_id = ANY (p_ids) ORDER BY t.task_id FOR NO KEY UPDATE);
BEGIN
    UPDATE tasks t SET next_publish = v_then, published_at = v_then
    WHERE t.task_id = ANY (v_ids) AND t.status = 'ready';
    RETURN NULL;
END $$;
