--- include records protocol
-- Settle runs of one partition as cancelled. KEYS[1] prefix; ARGV[1] {ids, error? (document), grace, ttl?, now?}.
-- Answers a list of Answer.

local function cancel(run_id)
  local run = load('run', run_id)
  if not run then return { run_id = run_id, result = 'refused', reason = 'missing' } end
  if run.status == 'cancelled' then return { run_id = run_id, result = 'already' } end
  if SETTLED[run.status] then return { run_id = run_id, result = 'refused', reason = 'run ' .. run.status } end
  for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run_id, 0, -1)) do
    local status = peek(id, 'status')[1]
    if status and (not ENDED[status] or status == 'interrupted') then
      set(load('task', id), { status = 'cancelled', ended_at = now, next_publish = NIL, run_at = NIL })
    end
  end
  local thread, open = thread_of(run.thread_id), {}
  for name, value in pairs(thread) do
    if name:sub(1, 1) == 'r' and value == run_id then open['o' .. name:sub(2)] = 0 end
  end
  set(thread, open)
  later('ZREM', P .. 'queued:' .. run.thread_id, run_id)
  local started = end_run(run, 'cancelled', request.error)
  flush()
  return { run_id = run_id, result = 'committed', publish = started and ready_refs(started) or {} }
end

local answers = {}
for i, run_id in ipairs(request.ids) do answers[i] = cancel(run_id) end
return cmsgpack.pack(answers)
