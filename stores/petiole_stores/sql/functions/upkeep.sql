-- Keep p_progress on a task while the token stands: true, else false. Locks the task.
CREATE OR REPLACE FUNCTION petiole_note(p_task_id text, p_token text, p_progress text) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
BEGIN
    UPDATE tasks t SET progress = p_progress::jsonb
    WHERE t.task_id = p_task_id AND t.token = p_token AND t.status || '' IN ('claimed', 'ready') AND EXISTS (
        SELECT FROM runs r WHERE r.run_id = t.run_id AND r.status || '' NOT IN ('succeeded', 'failed', 'cancelled'));
    RETURN FOUND;
END $$;

-- Take failed tasks off the dead letters; gives how many were on them. Locks tasks in order of task_id.
CREATE OR REPLACE FUNCTION petiole_drop(p_ids text[]) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_dropped integer;
    v_ids text[] := ARRAY(
        SELECT t.task_id FROM tasks t WHERE t.task_id = ANY (p_ids) ORDER BY t.task_id FOR NO KEY UPDATE);
BEGIN
    UPDATE tasks t SET dropped = true
    WHERE t.task_id = ANY (v_ids) AND t.status || '' = 'failed' AND NOT t.replaced AND NOT t.dropped;
    GET DIAGNOSTICS v_dropped = ROW_COUNT;
    RETURN v_dropped;
END $$;

-- Mark a damaged checkpoint; false: there is none. Locks its row.
CREATE OR REPLACE FUNCTION petiole_quarantine(p_checkpoint_id text, p_reason text) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
BEGIN
    UPDATE checkpoints c SET quarantined = p_reason WHERE c.checkpoint_id = p_checkpoint_id;
    RETURN FOUND;
END $$;

-- Write blobs of a thread in place of those of the same digest. Locks: the thread's root head, then what it writes.
CREATE OR REPLACE FUNCTION petiole_replace_blobs(
    p_thread_id text, p_digest text[], p_codec text[], p_data bytea[], p_checksum text[]
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
BEGIN
    PERFORM FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = '' FOR NO KEY UPDATE;
    IF FOUND THEN
        INSERT INTO blobs AS b (thread_id, digest, codec, data, checksum, created_at)
        SELECT DISTINCT ON (n.digest) p_thread_id, n.digest, n.codec, n.data, n.checksum,
            extract(epoch FROM clock_timestamp())
        FROM unnest(p_digest, p_codec, p_data, p_checksum) WITH ORDINALITY AS n(digest, codec, data, checksum, ord)
        ORDER BY n.digest, n.ord DESC
        ON CONFLICT (thread_id, digest) DO UPDATE
        SET codec = excluded.codec, data = excluded.data, checksum = excluded.checksum;
    END IF;
    RETURN FOUND;
END $$;

-- Threads that got checkpoints after the seq p_after, each once in the order of their first, and the seq to go on from.
-- A seq is drawn before its commit is seen, so a smaller one may still come: every transaction that was writing
-- checkpoints when the newest one was seen is waited for, and if one does not end in time, nothing is given.
-- Locks nothing.
CREATE OR REPLACE FUNCTION petiole_recent(p_after bigint, p_limit integer) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_last bigint := p_after;
    v_newest bigint;
    v_writers text[];
    v_threads text[] := '{}';
    v_seen jsonb := '{}';
    c record;
BEGIN
    SELECT s.seq INTO v_newest FROM checkpoints s WHERE s.seq > p_after ORDER BY s.seq DESC LIMIT 1;
    IF v_newest IS NOT NULL THEN
        v_writers := ARRAY(SELECT w FROM petiole_writers() AS w);
        FOR i IN 1 .. 100 LOOP
            EXIT WHEN NOT EXISTS (SELECT FROM petiole_writers() AS w WHERE w = ANY (v_writers));
            IF i = 100 THEN
                v_newest := NULL;
            ELSE
                PERFORM pg_sleep(0.005);
            END IF;
        END LOOP;
    END IF;
    IF v_newest IS NOT NULL THEN
        FOR c IN
            SELECT s.seq, s.thread_id FROM checkpoints s WHERE s.seq > p_after AND s.seq <= v_newest ORDER BY s.seq
        LOOP
            IF NOT v_seen ? c.thread_id THEN
                EXIT WHEN cardinality(v_threads) = p_limit;
                v_threads := v_threads || c.thread_id;
                v_seen := v_seen || jsonb_build_object(c.thread_id, true);
            END IF;
            v_last := c.seq;
        END LOOP;
    END IF;
    RETURN json_build_array(to_json(v_threads), v_last::text);
END $$;

-- The other transactions that have written checkpoints, or are about to. Locks nothing.
CREATE OR REPLACE FUNCTION petiole_writers() RETURNS SETOF text LANGUAGE sql VOLATILE AS $$
    SELECT l.virtualtransaction FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.relation = 'checkpoints'::regclass AND l.mode = 'RowExclusiveLock'
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND l.pid <> pg_backend_pid()
$$;

-- Keep a thread's newest p_most checkpoints of each namespace (NULL: all) with what is needed, and the blobs that a
-- document names; gives what was removed as the Trimmed record.
-- Also kept: heads and their parents, the bases of runs, checkpoints with a task that is not over or is interrupted.
-- Locks: the thread's root head (nothing of the thread settles meanwhile), the tasks that go in order of task_id.
CREATE OR REPLACE FUNCTION petiole_trim(p_thread_id text, p_most integer) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_gone text[] := '{}';
    v_tasks text[] := '{}';
    v_spaces text[];
    v_more text[];
    v_orphans text[];
    v_blobs text[];
BEGIN
    PERFORM FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = '' FOR NO KEY UPDATE;
    IF p_most IS NOT NULL THEN
        -- Sets are subtracted by EXCEPT, which sorts: whatever a plan was made for, it never compares all with all.
        v_gone := ARRAY(
            SELECT s.checkpoint_id FROM (
                SELECT c.checkpoint_id, row_number() OVER (PARTITION BY c.ns ORDER BY c.seq DESC) AS place
                FROM checkpoints c WHERE c.thread_id = p_thread_id
            ) s
            WHERE s.place > p_most
            EXCEPT (
                SELECT h.checkpoint_id FROM heads h WHERE h.thread_id = p_thread_id
                UNION ALL
                SELECT c.parent_id FROM heads h JOIN checkpoints c ON c.checkpoint_id = h.checkpoint_id
                WHERE h.thread_id = p_thread_id
                UNION ALL
                SELECT r.base_id FROM runs r WHERE r.thread_id = p_thread_id
                UNION ALL
                SELECT t.checkpoint_id FROM runs r JOIN tasks t ON t.run_id = r.run_id
                WHERE r.thread_id = p_thread_id AND t.status IN ('ready', 'claimed', 'parked', 'interrupted')
            ));
    END IF;
    IF v_gone <> '{}' THEN
        v_tasks := ARRAY(
            SELECT m.task_id FROM (
                SELECT u.task_id, bool_or(u.task_id IS NULL) OVER (PARTITION BY u.checkpoint_id) AS goes
                FROM (
                    SELECT t.checkpoint_id, t.task_id FROM runs r JOIN tasks t ON t.run_id = r.run_id
                    WHERE r.thread_id = p_thread_id AND t.checkpoint_id IS NOT NULL
                    UNION ALL
                    SELECT g.id, NULL FROM unnest(v_gone) AS g(id)
                ) u
            ) m
            WHERE m.goes AND m.task_id IS NOT NULL);
        PERFORM FROM tasks t WHERE t.task_id = ANY (v_tasks) ORDER BY t.task_id FOR UPDATE;
        DELETE FROM tasks t WHERE t.task_id = ANY (v_tasks);
        DELETE FROM checkpoints c WHERE c.checkpoint_id = ANY (v_gone);
    END IF;
    -- With a task goes the namespace that dies with it, which may have owners of others.
    WHILE p_most IS NOT NULL LOOP
        v_spaces := ARRAY(
            SELECT h.ns FROM heads h
            WHERE h.thread_id = p_thread_id AND h.owner IS NOT NULL AND h.ns ~ ':[^|]*$'
                AND NOT EXISTS (SELECT FROM tasks t WHERE t.task_id = h.owner));
        EXIT WHEN v_spaces = '{}';
        v_more := ARRAY(
            SELECT c.checkpoint_id FROM checkpoints c WHERE c.thread_id = p_thread_id AND c.ns = ANY (v_spaces));
        v_orphans := ARRAY(
            SELECT t.task_id FROM runs r JOIN tasks t ON t.run_id = r.run_id
            WHERE r.thread_id = p_thread_id AND t.checkpoint_id = ANY (v_more));
        PERFORM FROM tasks t WHERE t.task_id = ANY (v_orphans) ORDER BY t.task_id FOR UPDATE;
        DELETE FROM tasks t WHERE t.task_id = ANY (v_orphans);
        DELETE FROM checkpoints c WHERE c.checkpoint_id = ANY (v_more);
        DELETE FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = ANY (v_spaces);
        v_gone := v_gone || v_more;
        v_tasks := v_tasks || v_orphans;
    END LOOP;
    v_blobs := ARRAY(SELECT b.digest FROM blobs b WHERE b.thread_id = p_thread_id);
    IF v_blobs <> '{}' THEN
        v_blobs := ARRAY(
            SELECT b.digest FROM unnest(v_blobs) AS b(digest)
            EXCEPT
            SELECT n.found[1] FROM (
                SELECT concat_ws(' ', c.state, c.next, c.control, c.metadata) AS text
                FROM checkpoints c WHERE c.thread_id = p_thread_id
                UNION ALL
                SELECT concat_ws(' ', r.input, r.metadata, r.config) FROM runs r WHERE r.thread_id = p_thread_id
                UNION ALL
                SELECT concat_ws(' ', t.arg, t.output, t.progress) FROM runs r JOIN tasks t ON t.run_id = r.run_id
                WHERE r.thread_id = p_thread_id
            ) d, regexp_matches(d.text, '"\$blob"\s*:\s*"([^"\\]+)"', 'g') AS n(found));
        DELETE FROM blobs b WHERE b.thread_id = p_thread_id AND b.digest = ANY (v_blobs);
    END IF;
    RETURN json_build_object(
        'checkpoints', cardinality(v_gone), 'tasks', cardinality(v_tasks), 'blobs', cardinality(v_blobs));
END $$;

-- Threads without an active run whose newest run has ended longer ago than p_ages (by status, in seconds) says; those
-- whose runs ended first. Locks nothing. (Sorting is off so that the walk by ended_at stops at p_limit.)
CREATE OR REPLACE FUNCTION petiole_expired(p_ages jsonb, p_limit integer, p_now double precision) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
    SET enable_sort = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_until double precision;
BEGIN
    SELECT v_now - min(a.value::double precision) INTO v_until FROM jsonb_each_text(p_ages) a;
    RETURN (
        SELECT coalesce(json_agg(e.thread_id ORDER BY e.seq), '[]'::json) FROM (
            SELECT r.thread_id, r.seq FROM runs r JOIN threads th ON th.thread_id = r.thread_id
            WHERE r.ended_at < v_until AND r.ended_at < v_now - (p_ages ->> r.status)::double precision
                AND th.active_run IS NULL
                AND NOT EXISTS (SELECT FROM runs n WHERE n.thread_id = r.thread_id AND n.seq > r.seq)
            ORDER BY r.ended_at LIMIT p_limit
        ) e);
END $$;

-- Remove a thread with all that it has; false: a run is active, nothing is done. Who waits for its head meanwhile finds
-- nothing then, or (submit, save) fails and tries again.
-- Locks: the thread's root head, its tasks in order of task_id, then its runs, the thread, and the rest.
CREATE OR REPLACE FUNCTION petiole_delete_thread(p_thread_id text) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
BEGIN
    PERFORM FROM heads h WHERE h.thread_id = p_thread_id AND h.ns = '' FOR UPDATE;
    IF EXISTS (SELECT FROM threads th WHERE th.thread_id = p_thread_id AND th.active_run IS NOT NULL) THEN
        RETURN false;
    END IF;
    PERFORM FROM tasks t
    WHERE t.task_id = ANY (ARRAY(
        SELECT s.task_id FROM runs r JOIN tasks s ON s.run_id = r.run_id WHERE r.thread_id = p_thread_id))
    ORDER BY t.task_id FOR UPDATE;
    DELETE FROM tasks t USING runs r WHERE r.thread_id = p_thread_id AND t.run_id = r.run_id;
    DELETE FROM runs r WHERE r.thread_id = p_thread_id;
    DELETE FROM checkpoints c WHERE c.thread_id = p_thread_id;
    DELETE FROM blobs b WHERE b.thread_id = p_thread_id;
    DELETE FROM heads h WHERE h.thread_id = p_thread_id;
    DELETE FROM threads th WHERE th.thread_id = p_thread_id;
    -- Last: whoever writes one has the row of threads locked until it is committed.
    DELETE FROM events e WHERE e.thread_id = p_thread_id;
    RETURN true;
END $$;
