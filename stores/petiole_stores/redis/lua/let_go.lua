--- include records protocol
-- Let runs of one partition go on that were held back. KEYS[1] prefix; ARGV[1] {ids, status ("paused" or "blocked"), now?}.
-- Answers a list of Answer.

local GOING = { queued = true, running = true, waiting = true }

local function let_go(run_id)
  local answer = { run_id = run_id, result = 'refused' }
  local run = load('run', run_id)
  if not run then
    answer.reason = 'missing'
  elseif GOING[run.status] then
    answer.result = 'already'
  elseif run.status ~= request.status then
    answer.reason = 'run ' .. run.status
  else
    local status = 'running'
    if not run.started_at then
      local first = peek(redis.call('LINDEX', P .. 'tasks:' .. run_id, 0), 'status', 'run_at')
      status = first[1] == 'parked' and first[2] and 'waiting' or 'queued'
    end
    for _, id in ipairs(redis.call('SMEMBERS', P .. 'ready:' .. run_id)) do
      local task = load('task', id)
      if task then set(task, { next_publish = now }) end
    end
    set(run, { status = status, reason = NIL })
    flush()
    answer.result, answer.publish = 'committed', ready_refs(run_id)
  end
  return answer
end

local answers = {}
for i, run_id in ipairs(request.ids) do answers[i] = let_go(run_id) end
return cmsgpack.pack(answers)
