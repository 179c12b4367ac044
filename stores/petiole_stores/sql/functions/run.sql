-- What the operations share about a thread's runs. The caller holds the thread's root head, which is the lock for
-- everything that starts, ends or settles a run of the thread.
--
-- Plans, here and in the other files: every entry point has its settings in its head. Plans are made once, perhaps while
-- the tables are empty, so each must stay good whatever the tables grow to: rows named by id are looked up by id, one by
-- one. For the same reason a status is compared as r.status || '' where the row is known already: an index of all runs
-- in that status may hold one row today and a million tomorrow. (The partial indexes of tasks ask for next_publish or
-- run_at as well, and so are never chosen by the status alone.)

-- The ready tasks of a run as TaskRefs, in the order they were made. Locks nothing.
CREATE OR REPLACE FUNCTION petiole_ready_refs(p_run_id text) RETURNS json
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT coalesce(json_agg(petiole_ref_json(t, r.graph, r.version) ORDER BY t.seq), '[]'::json)
        FROM tasks t JOIN runs r ON r.run_id = t.run_id
        WHERE t.run_id = p_run_id AND t.status = 'ready'
    );
END $$;

-- Make a run its thread's active one: its start task is ready, or waits for run_at. Locks: tasks, runs, threads.
CREATE OR REPLACE FUNCTION petiole_activate(p_run_id text, p_now double precision, p_grace double precision)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_run runs;
    v_base text;
    v_later boolean;
BEGIN
    SELECT r.* INTO STRICT v_run FROM runs r WHERE r.run_id = p_run_id;
    v_later := v_run.run_at IS NOT NULL AND v_run.run_at > p_now;
    INSERT INTO heads AS h (thread_id, ns, checkpoint_id, run_id, open, width)
    VALUES (v_run.thread_id, '', v_run.base_id, p_run_id, 1, 1)
    ON CONFLICT (thread_id, ns) DO UPDATE
        SET checkpoint_id = coalesce(v_run.base_id, h.checkpoint_id), run_id = p_run_id, open = 1, width = 1
    RETURNING h.checkpoint_id INTO v_base;
    UPDATE tasks t
    SET checkpoint_id = v_base,
        status = CASE WHEN v_later THEN 'parked' ELSE 'ready' END,
        run_at = CASE WHEN v_later THEN v_run.run_at END,
        next_publish = CASE WHEN NOT v_later THEN p_now + p_grace END,
        published_at = CASE WHEN v_later THEN t.published_at ELSE p_now END,
        publishes = CASE WHEN v_later THEN t.publishes ELSE 0 END
    WHERE t.task_id = (SELECT s.task_id FROM tasks s WHERE s.run_id = p_run_id ORDER BY s.seq LIMIT 1);
    UPDATE runs r SET status = 'waiting' WHERE r.run_id = p_run_id AND v_later;
    UPDATE threads th SET active_run = p_run_id WHERE th.thread_id = v_run.thread_id;
END $$;

-- Settle a run; if it was active, its thread's next queued run starts. Gives what to publish. Locks: runs, threads,
-- then the rows of the run that starts.
CREATE OR REPLACE FUNCTION petiole_end_run(
    p_run_id text, p_thread_id text, p_status text, p_error jsonb, p_now double precision, p_grace double precision
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    v_next text;
BEGIN
    UPDATE runs r SET status = p_status, ended_at = p_now, error = p_error, reason = NULL WHERE r.run_id = p_run_id;
    UPDATE threads th SET active_run = NULL WHERE th.thread_id = p_thread_id AND th.active_run = p_run_id;
    IF NOT FOUND THEN
        RETURN '[]';
    END IF;
    SELECT r.run_id INTO v_next FROM runs r
    WHERE r.thread_id = p_thread_id AND r.started_at IS NULL AND r.ended_at IS NULL AND r.status || '' = 'queued'
    ORDER BY r.seq LIMIT 1;
    IF v_next IS NULL THEN
        RETURN '[]';
    END IF;
    PERFORM petiole_activate(v_next, p_now, p_grace);
    RETURN petiole_ready_refs(v_next);
END $$;

-- Decide what becomes of a run whose superstep has no open task: it stays as it is if all went well, else it fails,
-- waits for a person, or is cancelled. Gives what to publish. Locks: as petiole_end_run.
CREATE OR REPLACE FUNCTION petiole_close(
    p_run_id text, p_thread_id text, p_ns text, p_checkpoint_id text, p_now double precision, p_grace double precision
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    v_failed boolean;
    v_interrupted boolean;
    v_cancelled boolean;
    v_error jsonb;
BEGIN
    IF p_checkpoint_id IS NULL THEN
        SELECT bool_or(t.status = 'failed'), bool_or(t.status = 'interrupted'), bool_or(t.status = 'cancelled'),
            (array_agg(t.error ORDER BY t.path) FILTER (WHERE t.status = 'failed'))[1]
        INTO v_failed, v_interrupted, v_cancelled, v_error
        FROM tasks t
        WHERE t.run_id = p_run_id AND t.checkpoint_id IS NULL AND t.ns = p_ns AND NOT t.replaced;
    ELSE
        SELECT bool_or(t.status = 'failed'), bool_or(t.status = 'interrupted'), bool_or(t.status = 'cancelled'),
            (array_agg(t.error ORDER BY t.path) FILTER (WHERE t.status = 'failed'))[1]
        INTO v_failed, v_interrupted, v_cancelled, v_error
        FROM tasks t
        WHERE t.run_id = p_run_id AND t.checkpoint_id = p_checkpoint_id AND t.ns = p_ns AND NOT t.replaced;
    END IF;
    IF v_failed THEN
        RETURN petiole_end_run(p_run_id, p_thread_id, 'failed', v_error, p_now, p_grace);
    ELSIF v_interrupted THEN
        UPDATE runs r SET status = 'interrupted', reason = NULL WHERE r.run_id = p_run_id;
    ELSIF v_cancelled THEN
        RETURN petiole_end_run(p_run_id, p_thread_id, 'cancelled', NULL, p_now, p_grace);
    END IF;
    RETURN '[]';
END $$;
