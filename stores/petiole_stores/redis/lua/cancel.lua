--- include records protocol ending
-- Settle runs of one partition as cancelled. KEYS[1] prefix; ARGV[1] {ids, error? (document), grace, ttl?, now?}.
-- Answers a list of Answer.

local function cancel(run_id)
  local run = load('run', run_id)
  if not run then return { run_id = run_id, result = 'refused', reason = 'missing' } end
  if run.status == 'cancelled' then return { run_id = run_id, result = 'already' } end
  if SETTLED[run.status] then return { run_id = run_id, result = 'refused', reason = 'run ' .. run.status } end
  end_tasks(run, 'cancelled')
  local started = end_run(run, 'cancelled', request.error)
  flush()
  return { run_id = run_id, result = 'committed', publish = started and ready_refs(started) or {} }
end

local answers = {}
for i, run_id in ipairs(request.ids) do answers[i] = cancel(run_id) end
return cmsgpack.pack(answers)
