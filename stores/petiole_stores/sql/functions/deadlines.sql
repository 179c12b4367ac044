-- Lock what ending the runs takes whose deadline is over: their threads' root heads, then their open tasks. Gives the
-- runs' ids. A thread whose head somebody holds is skipped: the next sweep sees to it. At most 1,000 in one transaction.
-- Locks: root heads in order of thread_id, tasks in order of task_id.
CREATE OR REPLACE FUNCTION petiole_late_runs(p_now double precision) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_runs text[];
    v_threads text[];
BEGIN
    SELECT array_agg(l.run_id), array_agg(l.thread_id) INTO v_runs, v_threads FROM (
        SELECT r.run_id, r.thread_id FROM runs r WHERE r.deadline <= p_now AND r.ended_at IS NULL
        ORDER BY r.deadline LIMIT 1000
    ) l;
    IF v_runs IS NULL THEN
        RETURN '{}';
    END IF;
    v_threads := ARRAY(
        SELECT h.thread_id FROM heads h WHERE h.thread_id = ANY (v_threads) AND h.ns = ''
        ORDER BY h.thread_id FOR NO KEY UPDATE SKIP LOCKED);
    v_runs := ARRAY(
        SELECT r.run_id FROM runs r
        WHERE r.run_id = ANY (v_runs) AND r.thread_id = ANY (v_threads) AND r.deadline <= p_now AND r.ended_at IS NULL
        ORDER BY r.run_id);
    PERFORM FROM tasks t
    WHERE t.run_id = ANY (v_runs) AND t.status IN ('ready', 'claimed', 'parked', 'interrupted')
    ORDER BY t.task_id FOR NO KEY UPDATE;
    RETURN v_runs;
END $$;

-- End the runs that petiole_late_runs gave: they and their open tasks fail as DeadlineExceeded.
-- Locks: nothing of tasks that is not locked yet; what ending a run needs.
CREATE OR REPLACE FUNCTION petiole_expire(p_runs text[], p_now double precision, p_grace double precision)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_error jsonb := jsonb_build_object(
        'type', 'DeadlineExceeded',
        'message', 'the run had not ended when its deadline was over: replay it, or submit it with a later one');
    v_run_id text;
    v_thread_id text;
BEGIN
    FOREACH v_run_id IN ARRAY p_runs LOOP
        SELECT r.thread_id INTO v_thread_id FROM runs r WHERE r.run_id = v_run_id;
        UPDATE tasks t
        SET status = 'failed', ended_at = p_now, next_publish = NULL, run_at = NULL, token = NULL, error = v_error
        WHERE t.run_id = v_run_id AND t.status IN ('ready', 'claimed', 'parked', 'interrupted');
        UPDATE heads h SET open = 0 WHERE h.thread_id = v_thread_id AND h.run_id = v_run_id;
        PERFORM petiole_end_run(v_run_id, v_thread_id, 'failed', v_error, p_now, p_grace);
    END LOOP;
END $$;
