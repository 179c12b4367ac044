-- The right to run a task with all that running it needs, as the Claim record. Locks nothing.
-- Of a base that the caller has (p_known) only the id is told, as known, unless it has been quarantined since.
CREATE OR REPLACE FUNCTION petiole_claim_record(p_task_id text, p_known text[]) RETURNS json
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v record;
    v_outputs json := '[]';
    v_child json;
BEGIN
    SELECT petiole_task_json(t) AS task, petiole_run_json(r) AS run, t.kind, t.ns, t.run_id, t.checkpoint_id, t.child,
        t.thread_id,
        CASE
            WHEN c.checkpoint_id = ANY (p_known) AND c.quarantined IS NULL THEN NULL
            WHEN c.checkpoint_id IS NOT NULL THEN petiole_checkpoint_json(c)
        END AS base,
        CASE WHEN c.checkpoint_id = ANY (p_known) AND c.quarantined IS NULL THEN c.checkpoint_id END AS known,
        coalesce(h.width, 0) AS width
    INTO v
    FROM tasks t
        JOIN runs r ON r.run_id = t.run_id
        LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
        LEFT JOIN checkpoints c ON c.checkpoint_id = t.checkpoint_id
    WHERE t.task_id = p_task_id;
    IF v.kind = 'advance' AND v.checkpoint_id IS NOT NULL THEN
        SELECT coalesce(json_agg(json_build_object(
            'path', t.path, 'node', t.node, 'output', coalesce(t.output::text, 'null')) ORDER BY t.path), '[]'::json)
        INTO v_outputs
        FROM tasks t
        WHERE t.run_id = v.run_id AND t.checkpoint_id = v.checkpoint_id AND t.ns = v.ns
            AND t.kind = 'node' AND t.status = 'done';
    END IF;
    IF v.child <> '' THEN
        SELECT petiole_checkpoint_json(c) INTO v_child
        FROM heads h JOIN checkpoints c ON c.checkpoint_id = h.checkpoint_id
        WHERE h.thread_id = v.thread_id AND h.ns = v.child;
    END IF;
    RETURN json_build_object(
        'task', v.task, 'run', v.run, 'base', v.base, 'known', v.known, 'width', v.width, 'outputs', v_outputs,
        'child', v_child);
END $$;

CREATE OR REPLACE FUNCTION petiole_claim_record(p_task_id text) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT petiole_claim_record(p_task_id, '{}')
$$;

-- Claim tasks for one slot of one holder, each under a token of the caller's; one answer a want, in the order asked.
-- Locks: tasks in order of task_id, then runs. A row that is locked is waited for, not skipped: the answer must say
-- what became of it. The holder's row is read without a lock: should a sweep declare it dead meanwhile, the next sweep
-- frees what was claimed in between.
CREATE OR REPLACE FUNCTION petiole_claim(
    p_holder text, p_slot text, p_ids text[], p_tokens text[], p_holds text[], p_published text[],
    p_known text[], p_now double precision, p_grace double precision, p_max_backoff double precision
) RETURNS text
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off AS $$
DECLARE
    v_now double precision := coalesce(p_now, extract(epoch FROM clock_timestamp()));
    v_status text;
    v_stale text[];
    v_ids text[] := p_ids;
    v_ords bigint[];
    v_ord bigint;
    v_claimed boolean[] := '{}';
    v_queued text[];
    v_answers text[] := '{}';
    v record;
BEGIN
    SELECT w.status INTO v_status FROM workers w WHERE w.worker_id = p_holder;
    IF v_status IS NULL OR v_status NOT IN ('alive', 'stopping') THEN
        RETURN (SELECT coalesce(json_agg(json_build_object(
            'task_id', w.id, 'result', 'refused', 'reason', 'holder ' || coalesce(v_status, 'unknown'))
            ORDER BY w.ord), '[]'::json) FROM unnest(p_ids) WITH ORDINALITY AS w(id, ord));
    END IF;

    -- What this slot held before and holds no longer.
    SELECT array_agg(t.task_id) INTO v_stale FROM tasks t
    WHERE t.holder = p_holder AND t.slot = p_slot AND t.token IS NOT NULL AND t.status = 'claimed'
        AND t.token <> ALL (p_holds) AND t.token <> ALL (p_tokens);
    IF v_stale IS NOT NULL OR cardinality(p_ids) > 1 THEN
        -- Whatever their status: one that becomes ready now would else be locked out of order below. So would one that
        -- is not there yet (its thread was deleted and is just submitted again): it is left to the next claim.
        v_ids := ARRAY(
            SELECT t.task_id FROM tasks t WHERE t.task_id = ANY (p_ids || v_stale)
            ORDER BY t.task_id FOR NO KEY UPDATE);
    END IF;
    IF v_stale IS NOT NULL THEN
        UPDATE tasks t
        SET attempts = petiole_attempts(t, v_now, 'lost', NULL), status = 'ready', token = NULL, holder = NULL,
            slot = NULL, next_publish = v_now, recovered = true
        WHERE t.task_id = ANY (v_stale) AND t.status = 'claimed' AND t.holder = p_holder AND t.slot = p_slot
            AND t.token <> ALL (p_holds) AND t.token <> ALL (p_tokens);
    END IF;

    -- The first want of a task counts, should it be asked for twice.
    WITH claimed AS (
        UPDATE tasks t
        SET attempts = CASE WHEN t.token IS NULL THEN t.attempts ELSE petiole_attempts(t, v_now, 'lost', NULL) END,
            status = 'claimed', token = w.token, holder = p_holder, slot = p_slot, attempt = t.attempt + 1,
            started = w.ord = 1, claimed_at = v_now, next_publish = NULL, awaits = '', woken = false
        FROM (
            SELECT DISTINCT ON (u.id) u.id, u.token, u.ord
            FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS u(id, token, ord)
            WHERE u.id = ANY (v_ids) ORDER BY u.id, u.ord
        ) w, runs r
        WHERE t.task_id = w.id AND t.status = 'ready' AND r.run_id = t.run_id AND r.status || '' IN ('queued', 'running')
        RETURNING w.ord, r.run_id, r.status
    )
    SELECT array_agg(c.ord), array_agg(c.run_id) FILTER (WHERE c.status = 'queued')
    INTO v_ords, v_queued FROM claimed c;
    FOREACH v_ord IN ARRAY coalesce(v_ords, '{}') LOOP
        v_claimed[v_ord] := true;
    END LOOP;
    IF v_queued IS NOT NULL THEN
        -- One that somebody has held back meanwhile stays so, but has started.
        PERFORM FROM runs r WHERE r.run_id = ANY (v_queued) AND r.status || '' IN ('queued', 'paused', 'blocked')
        ORDER BY r.thread_id, r.run_id FOR NO KEY UPDATE;
        UPDATE runs r
        SET status = CASE r.status WHEN 'queued' THEN 'running' ELSE r.status END,
            started_at = coalesce(r.started_at, v_now)
        WHERE r.run_id = ANY (v_queued) AND r.status || '' IN ('queued', 'paused', 'blocked');
    END IF;

    FOR v IN
        SELECT w.id, w.ord,
            CASE
                WHEN t.task_id IS NULL THEN 'missing'
                WHEN r.status NOT IN ('queued', 'running') THEN 'run ' || r.status
                WHEN t.status = 'claimed' AND t.token = w.token THEN NULL
                ELSE t.status
            END AS reason
        FROM unnest(p_ids, p_tokens) WITH ORDINALITY AS w(id, token, ord)
            LEFT JOIN tasks t ON t.task_id = w.id LEFT JOIN runs r ON r.run_id = t.run_id
    LOOP
        IF v_claimed[v.ord] THEN
            v_answers[v.ord] := json_build_object(
                'task_id', v.id, 'result', 'committed', 'claim', petiole_claim_record(v.id, p_known));
        ELSIF v.reason IS NOT NULL THEN
            v_answers[v.ord] := json_build_object('task_id', v.id, 'result', 'refused', 'reason', v.reason);
        ELSE
            v_answers[v.ord] := json_build_object(
                'task_id', v.id, 'result', 'already', 'claim', petiole_claim_record(v.id, p_known));
        END IF;
    END LOOP;
    IF cardinality(p_published) > 0 THEN
        PERFORM petiole_published(p_published, v_now, p_grace, p_max_backoff);
    END IF;
    RETURN '[' || array_to_string(v_answers, ',') || ']';
END $$;

-- Push on the next publishing of tasks that are known to have been published and still wait for their first claim.
-- Locks tasks, skipping those that others hold: they are being claimed.
CREATE OR REPLACE FUNCTION petiole_published(
    p_ids text[], p_now double precision, p_grace double precision, p_max_backoff double precision
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tasks t
    SET publishes = t.publishes + 1, published_at = p_now,
        next_publish = p_now + least(p_grace * 2 ^ least(t.publishes + 1, 30), p_max_backoff)
    FROM (
        SELECT s.task_id FROM tasks s WHERE s.task_id = ANY (p_ids) AND s.status = 'ready' AND s.publishes = 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) s
    WHERE t.task_id = s.task_id;
END $$;
