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

-- Decide what becomes of a superstep that has no open task: NULL if all went well; else its namespace fails, waits for a
-- person, or is cancelled: gives what to publish. Locks: as petiole_end_namespace.
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
    RETURN CASE
        WHEN v_failed THEN petiole_end_namespace(p_run_id, p_thread_id, p_ns, 'failed', v_error, p_now, p_grace)
        WHEN v_interrupted THEN petiole_end_namespace(p_run_id, p_thread_id, p_ns, 'interrupted', NULL, p_now, p_grace)
        WHEN v_cancelled THEN petiole_end_namespace(p_run_id, p_thread_id, p_ns, 'cancelled', NULL, p_now, p_grace)
    END;
END $$;

-- A namespace is over, or waits for a person: p_ending (succeeded, failed, interrupted, cancelled) is what becomes of the
-- run or, below the root, of the task that owns it: ready if it succeeded, else ended and counted in its own superstep.
-- Gives what to publish. Locks: the owners, which wait and so are nobody else's; then as petiole_end_run.
CREATE OR REPLACE FUNCTION petiole_end_namespace(
    p_run_id text, p_thread_id text, p_ns text, p_ending text, p_error jsonb, p_now double precision,
    p_grace double precision
) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    v_owner text;
    v_open integer;
    t tasks;
BEGIN
    IF p_ns <> '' THEN
        SELECT h.owner INTO v_owner FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = p_ns;
        SELECT s.task_id INTO v_owner FROM tasks s WHERE s.task_id = v_owner;
    END IF;
    IF v_owner IS NULL THEN
        IF p_ending <> 'interrupted' THEN
            RETURN petiole_end_run(p_run_id, p_thread_id, p_ending, p_error, p_now, p_grace);
        END IF;
        UPDATE runs r SET status = 'interrupted', reason = NULL WHERE r.run_id = p_run_id;
        RETURN '[]';
    END IF;
    IF p_ending = 'succeeded' THEN
        UPDATE tasks s
        SET status = 'ready', run_at = NULL, next_publish = p_now + p_grace, published_at = p_now, publishes = 0
        WHERE s.task_id = v_owner
        RETURNING s.* INTO t;
        RETURN (SELECT json_build_array(petiole_ref_json(t, r.graph, r.version)) FROM runs r WHERE r.run_id = p_run_id);
    END IF;
    UPDATE tasks s SET status = p_ending, ended_at = p_now, error = p_error WHERE s.task_id = v_owner RETURNING s.* INTO t;
    UPDATE heads h SET open = h.open - 1 WHERE h.thread_id = p_thread_id AND h.ns = t.ns RETURNING h.open INTO v_open;
    IF v_open > 0 THEN
        RETURN '[]';
    END IF;
    RETURN petiole_close(p_run_id, p_thread_id, t.ns, t.checkpoint_id, p_now, p_grace);
END $$;

-- Count a task of a namespace that goes on, and let the owners above that had ended with it wait again.
-- Locks: the owners, as petiole_end_namespace.
CREATE OR REPLACE FUNCTION petiole_reopen(p_thread_id text, p_ns text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_ns text := p_ns;
    v_owner text;
BEGIN
    LOOP
        UPDATE heads h SET open = h.open + 1 WHERE h.thread_id = p_thread_id AND h.ns = v_ns
        RETURNING h.owner INTO v_owner;
        EXIT WHEN v_ns = '';
        UPDATE tasks t SET status = 'parked', ended_at = NULL, error = NULL, run_at = NULL
        WHERE t.task_id = v_owner AND t.status || '' IN ('done', 'failed', 'interrupted', 'cancelled')
        RETURNING t.ns INTO v_ns;
        EXIT WHEN NOT FOUND;
    END LOOP;
END $$;

-- Insert a settle's checkpoints and tasks (the Settle record as JSON), and move its namespace's head there, which exists;
-- gives the tasks' number. Tasks with a token are born claimed by the holder's slot, unless p_held_back and not in p_ids.
-- Locks nothing that the caller has not locked.
CREATE OR REPLACE FUNCTION petiole_put_settle(
    p_settle jsonb, p_thread_id text, p_run_id text, p_ns text, p_holder text, p_slot text, p_held_back boolean,
    p_ids text[], p_now double precision, p_grace double precision
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_head text := p_settle -> 'checkpoints' -> -1 ->> 'checkpoint_id';
    v_width integer := jsonb_array_length(p_settle -> 'tasks');
BEGIN
    INSERT INTO checkpoints (
        checkpoint_id, thread_id, ns, run_id, parent_id, step, source, node_names, state, next, control, metadata,
        digest, version, created_at, seal)
    SELECT n.checkpoint_id, p_thread_id, n.ns, p_run_id, n.parent_id, n.step, n.source, n.node_names, n.state::jsonb,
        n.next::jsonb, n.control::jsonb, n.metadata::jsonb, n.digest, n.version, p_now, coalesce(n.seal, '')
    FROM jsonb_to_recordset(p_settle -> 'checkpoints') AS n(
        checkpoint_id text, parent_id text, ns text, step integer, source text, node_names jsonb, state text,
        next text, control text, metadata text, digest text, version integer, seal text);
    IF v_width > 0 THEN
        INSERT INTO tasks (
            task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, arg, timeout, token,
            holder, slot, attempt, started, claimed_at, next_publish, published_at, created_at)
        SELECT n.task_id, p_run_id, p_thread_id, n.ns, v_head, n.path, n.kind, n.node, n.queue, n.priority,
            CASE WHEN k.token IS NULL THEN n.status ELSE 'claimed' END, n.arg::jsonb, n.timeout::jsonb, k.token,
            CASE WHEN k.token IS NOT NULL THEN p_holder END, CASE WHEN k.token IS NOT NULL THEN p_slot END,
            CASE WHEN k.token IS NULL THEN 0 ELSE 1 END, k.token IS NOT NULL,
            CASE WHEN k.token IS NOT NULL THEN p_now END,
            CASE WHEN k.token IS NULL AND n.status = 'ready' THEN p_now + p_grace END,
            CASE WHEN k.token IS NULL AND n.status = 'ready' THEN p_now END, p_now
        FROM jsonb_to_recordset(p_settle -> 'tasks') AS n(
            task_id text, path text, node text, kind text, ns text, queue text, priority text, arg text, timeout text,
            status text, token text),
            LATERAL (SELECT CASE WHEN NOT p_held_back OR n.task_id = ANY (p_ids) THEN n.token END AS token) AS k;
    END IF;
    UPDATE heads h
    SET checkpoint_id = v_head, width = v_width,
        open = CASE WHEN p_settle ->> 'run_status' = 'running' THEN v_width ELSE 0 END
    WHERE h.thread_id = p_thread_id AND h.ns = p_ns;
    RETURN v_width;
END $$;
