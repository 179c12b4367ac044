-- Write events of one run of a thread, numbered in the order of commits: writers of one thread wait for each other under
-- an advisory lock, and so a reader never sees a number before a smaller one. An event that is known is left
-- out; nothing is written for a thread that does not exist. Locks: an advisory lock of the thread, its row in threads.
CREATE OR REPLACE FUNCTION petiole_append_events(
    p_thread_id text, p_run_id text, p_event_id text[], p_kind text[], p_codec text[], p_data bytea[], p_now float8
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now float8;
    v_next bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('petiole events ' || p_thread_id, 0));
    -- Against a deletion of the thread alone: those who work on it lock their heads.
    PERFORM FROM threads th WHERE th.thread_id = p_thread_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN 'gone';
    END IF;
    v_now := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    SELECT max(e.seq) + 1 INTO v_next FROM events e WHERE e.thread_id = p_thread_id;
    v_next := coalesce(v_next, trunc(v_now * 1000)::bigint);
    INSERT INTO events (thread_id, seq, run_id, event_id, kind, codec, data, created_at)
    SELECT p_thread_id, v_next + row_number() OVER (ORDER BY n.ord) - 1, p_run_id, n.event_id, n.kind, n.codec, n.data, v_now
    FROM (
        SELECT DISTINCT ON (u.event_id) u.*
        FROM unnest(p_event_id, p_kind, p_codec, p_data) WITH ORDINALITY AS u(event_id, kind, codec, data, ord)
        ORDER BY u.event_id, u.ord
    ) n
    WHERE NOT EXISTS (SELECT FROM events e WHERE e.thread_id = p_thread_id AND e.event_id = n.event_id)
    ORDER BY n.ord;
    RETURN 'written';
END $$;

-- Remove up to p_limit events older than p_age seconds; gives how many there were. Locks their rows, skipping locked ones.
CREATE OR REPLACE FUNCTION petiole_purge_events(p_age float8, p_limit integer, p_now float8) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_before float8 := coalesce(p_now, extract(epoch FROM clock_timestamp())) - p_age;
    v_purged integer;
BEGIN
    DELETE FROM events e USING (
        SELECT o.thread_id, o.seq FROM events o WHERE o.created_at < v_before
        ORDER BY o.created_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ) old
    WHERE e.thread_id = old.thread_id AND e.seq = old.seq;
    GET DIAGNOSTICS v_purged = ROW_COUNT;
    RETURN v_purged;
END $$;
