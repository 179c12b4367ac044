-- Write items in the order given; without data one is deleted. Gives a row for each one with p_if_absent where an item was
-- whose time is not over: its position from 1, and the item, which stays. Locks items in order of (ns, key).
CREATE OR REPLACE FUNCTION petiole_put_items(
    p_ns text[], p_key text[], p_codec text[], p_data bytea[], p_checksum text[], p_ttl double precision[],
    p_if_absent boolean[], p_now double precision
) RETURNS TABLE (
    "position" integer, ns text, key text, codec text, data bytea, checksum text, created_at double precision,
    updated_at double precision, ttl double precision, expires_at double precision
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_written integer;
    n record;
BEGIN
    FOR n IN
        SELECT w.ns, w.key, w.codec, w.data, w.checksum, w.ttl, w.if_absent, w.ord
        FROM unnest(p_ns, p_key, p_codec, p_data, p_checksum, p_ttl, p_if_absent)
            WITH ORDINALITY AS w(ns, key, codec, data, checksum, ttl, if_absent, ord)
        ORDER BY w.ns COLLATE "C", w.key COLLATE "C", w.ord
    LOOP
        IF n.data IS NULL THEN
            DELETE FROM items i WHERE i.ns = n.ns AND i.key = n.key;
            CONTINUE;
        END IF;
        INSERT INTO items AS i (ns, key, codec, data, checksum, created_at, updated_at, ttl, expires_at)
        VALUES (n.ns, n.key, n.codec, n.data, n.checksum, v_now, v_now, n.ttl, v_now + n.ttl)
        ON CONFLICT ON CONSTRAINT pk_items DO UPDATE SET
            codec = excluded.codec, data = excluded.data, checksum = excluded.checksum,
            updated_at = excluded.updated_at, ttl = excluded.ttl, expires_at = excluded.expires_at,
            created_at = CASE WHEN i.expires_at <= v_now THEN excluded.created_at ELSE i.created_at END
        WHERE NOT n.if_absent OR i.expires_at <= v_now;
        GET DIAGNOSTICS v_written = ROW_COUNT;
        IF v_written = 0 THEN
            RETURN QUERY SELECT n.ord::integer, i.ns, i.key, i.codec, i.data, i.checksum, i.created_at, i.updated_at,
                i.ttl, i.expires_at
            FROM items i WHERE i.ns = n.ns AND i.key = n.key;
        END IF;
    END LOOP;
END $$;

-- The items of these names whose time is not over, with their positions from 1. p_refresh: those with a ttl live on for it
-- from now; that locks them, in order of (ns, key).
CREATE OR REPLACE FUNCTION petiole_get_items(
    p_ns text[], p_key text[], p_refresh boolean, p_now double precision
) RETURNS TABLE (
    "position" integer, ns text, key text, codec text, data bytea, checksum text, created_at double precision,
    updated_at double precision, ttl double precision, expires_at double precision
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
#variable_conflict use_column
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    n record;
BEGIN
    FOR n IN
        SELECT w.ns, w.key, w.ord FROM unnest(p_ns, p_key) WITH ORDINALITY AS w(ns, key, ord)
        ORDER BY w.ns COLLATE "C", w.key COLLATE "C"
    LOOP
        IF p_refresh THEN
            UPDATE items i SET expires_at = v_now + i.ttl
            WHERE i.ns = n.ns AND i.key = n.key AND i.ttl IS NOT NULL AND i.expires_at > v_now;
        END IF;
        RETURN QUERY SELECT n.ord::integer, i.ns, i.key, i.codec, i.data, i.checksum, i.created_at, i.updated_at, i.ttl,
            i.expires_at
        FROM items i WHERE i.ns = n.ns AND i.key = n.key AND (i.expires_at IS NULL OR i.expires_at > v_now);
    END LOOP;
END $$;

-- Remove up to p_limit items of the namespaces from p_start on and below p_end; gives how many. Locks items in order of
-- (ns, key).
CREATE OR REPLACE FUNCTION petiole_remove_items(p_start text, p_end text, p_limit integer) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_removed integer := 0;
    n record;
BEGIN
    FOR n IN
        SELECT i.ns, i.key FROM items i WHERE i.ns >= p_start AND i.ns < p_end ORDER BY i.ns, i.key LIMIT p_limit FOR UPDATE
    LOOP
        DELETE FROM items i WHERE i.ns = n.ns AND i.key = n.key;
        v_removed := v_removed + 1;
    END LOOP;
    RETURN v_removed;
END $$;

-- Remove up to p_limit items whose time is over; gives how many. Passes over what others have locked.
CREATE OR REPLACE FUNCTION petiole_purge_items(p_limit integer, p_now double precision) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_purged integer := 0;
    n record;
BEGIN
    FOR n IN
        SELECT i.ns, i.key FROM items i WHERE i.expires_at <= v_now
        ORDER BY i.expires_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        DELETE FROM items i WHERE i.ns = n.ns AND i.key = n.key;
        v_purged := v_purged + 1;
    END LOOP;
    RETURN v_purged;
END $$;
