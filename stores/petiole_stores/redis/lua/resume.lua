--- include records protocol
-- Let an interrupted run go on. KEYS[1] prefix; ARGV[1] {run_id, grace, now?}. Answers an Answer.

local function resume()
  local answer = { run_id = request.run_id, result = 'refused' }
  local run = load('run', request.run_id)
  if not run then
    answer.reason = 'missing'
  elseif RUNNABLE[run.status] then
    answer.result = 'already'
  elseif run.status ~= 'interrupted' then
    answer.reason = 'run ' .. run.status
  else
    local thread = thread_of(run.thread_id)
    for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run.run_id, 0, -1)) do
      if peek(id, 'status')[1] == 'interrupted' then
        local task = load('task', id)
        set_open(thread, task.ns, head_of(thread, task.ns).open + 1)
        set(task, { ended_at = NIL, token = NIL, holder = NIL, slot = NIL })
        make_ready(task)
      end
    end
    set(run, { status = 'running' })
    flush()
    answer.result, answer.publish = 'committed', ready_refs(run.run_id)
  end
  return answer
end

return cmsgpack.pack(resume())
