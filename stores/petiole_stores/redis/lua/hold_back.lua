--- include records protocol
-- Hold runs of one partition back. KEYS[1] prefix; ARGV[1] {ids, status ("paused" or "blocked"), reason (document), now?}.
-- Answers a list of Answer.

local GOING = { queued = true, running = true, waiting = true }

local function hold_back(run_id)
  local answer = { run_id = run_id, result = 'refused' }
  local run = load('run', run_id)
  if not run then
    answer.reason = 'missing'
  elseif run.status == request.status then
    answer.result = 'already'
  elseif not GOING[run.status] and not (run.status == 'blocked' and request.status == 'paused') then
    answer.reason = 'run ' .. run.status
  elseif thread_of(run.thread_id).active_run ~= run_id then
    answer.reason = 'not active'
  else
    set(run, { status = request.status, reason = request.reason })
    flush()
    answer.result = 'committed'
  end
  return answer
end

local answers = {}
for i, run_id in ipairs(request.ids) do answers[i] = hold_back(run_id) end
return cmsgpack.pack(answers)
