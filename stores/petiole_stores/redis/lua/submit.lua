--- include records protocol
-- Accept runs of one partition. KEYS[1] prefix; ARGV[1] {runs, grace, ttl?, now?}, each run a NewRun with "blobs" as
-- a count; ARGV[2...] digest and payload of the blobs, in order. Answers a list of SubmitAnswer.

local FIELDS = {
  'run_id', 'thread_id', 'graph', 'version', 'fingerprint', 'input', 'base_id', 'idempotency_key', 'request_digest',
  'config', 'metadata', 'run_at', 'deadline',
}

local function submit(new)
  local answer = { run_id = new.run_id, thread_id = new.thread_id, result = 'refused' }
  local known = load('run', new.run_id)
  local blobs = next_blob
  next_blob = next_blob + 2 * new.blobs
  if known then
    answer.thread_id = known.thread_id
    if known.request_digest ~= new.request_digest then
      answer.reason = 'conflict'
    else
      answer.result, answer.publish = 'already', ready_refs(known.run_id)
    end
    return answer
  end
  local active = thread_of(new.thread_id).active_run
  if new.base_id then
    local base = load('checkpoint', new.base_id)
    if not base or base.thread_id ~= new.thread_id or base.ns ~= '' then
      answer.reason = 'no base'
      return answer
    end
  end
  if active and new.if_busy == 'reject' then
    answer.reason, answer.active_run = 'busy', active
    return answer
  end
  local fields = { status = 'queued', created_at = now, seq = next_seq(), tags = new.tags }
  for _, name in ipairs(FIELDS) do fields[name] = new[name] end
  if new.delay then fields.run_at = now + new.delay end
  if new.lifetime then fields.deadline = math.max(now, fields.run_at or now) + new.lifetime end
  local run = create('run', new.run_id, fields)
  local seq = text_of(run.seq)
  later('ZADD', P .. 'runs', seq, run.run_id)
  later('ZADD', P .. 'labels', seq, labels_of(run.run_id, run.thread_id, run.graph, run.tags))
  later('ZADD', P .. 'runs:' .. run.thread_id, seq, run.run_id)
  if run.deadline then later('ZADD', P .. 'deadlines', text_of(run.deadline), run.run_id) end
  next_blob = blobs
  put_blobs(run.thread_id, new.blobs)
  local start = insert_task(new.start, run, nil)
  set(start, { status = 'parked', next_publish = NIL, published_at = NIL })
  if active then
    later('ZADD', P .. 'queued:' .. run.thread_id, seq, run.run_id)
  else
    activate(run, start)
  end
  flush()
  answer.result = 'committed'
  if not active then answer.publish = ready_refs(run.run_id) end
  return answer
end

local answers = {}
for i, new in ipairs(request.runs) do answers[i] = submit(new) end
return cmsgpack.pack(answers)
