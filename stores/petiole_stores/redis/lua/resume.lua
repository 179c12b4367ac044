--- include records protocol ending
-- Let an interrupted run go on. KEYS[1] prefix; ARGV[1] {run_id, answers? (a list of Resumption; all tasks without), grace,
-- now?}. Answers an Answer.

-- The interrupted tasks of the run that may be answered, as Resumptions and by their ids: all but those that were
-- interrupted with their namespace.
local function resumable(run)
  local interrupted, spaces = {}, {}
  for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run.run_id, 0, -1)) do
    local it = peek(id, 'status', 'ns', 'child', 'done_token')
    if it[1] == 'interrupted' then
      interrupted[#interrupted + 1] = { task_id = id, child = it[3] or '', token = it[4] or '' }
      spaces[it[2]] = true
    end
  end
  local found = {}
  for _, one in ipairs(interrupted) do
    if one.child == '' or not spaces[one.child] then
      found[#found + 1] = one
      found[one.task_id] = true
    end
  end
  return found
end

local function is_stale(run, answers, waiting)
  for _, answer in ipairs(answers) do
    local task = load('task', answer.task_id)
    if not task or task.run_id ~= run.run_id then return true end
    if task.status == 'interrupted' and not waiting[task.task_id] then return true end
  end
end

local function resume_task(task, answer)
  if task.status ~= 'interrupted' or (task.done_token or '') ~= answer.token then return false end
  set(task, { progress = answer.progress, ended_at = NIL, token = NIL, holder = NIL, slot = NIL })
  make_ready(task)
  reopen(task)
  return true
end

local function resume()
  local answer = { run_id = request.run_id, result = 'refused' }
  local run = load('run', request.run_id)
  if not run then
    answer.reason = 'missing'
    return answer
  end
  if not RUNNABLE[run.status] and run.status ~= 'interrupted' then
    answer.reason = 'run ' .. run.status
    return answer
  end
  if RUNNABLE[run.status] and not request.answers then
    answer.result = 'already'
    return answer
  end
  local waiting = resumable(run)
  local answers = request.answers or waiting
  if is_stale(run, answers, waiting) then
    answer.reason = 'stale'
    return answer
  end
  answer.result = 'already'
  for _, one in ipairs(answers) do
    if resume_task(load('task', one.task_id), one) then answer.result = 'committed' end
  end
  if answer.result == 'committed' then
    if run.status == 'interrupted' then set(run, { status = 'running' }) end
    flush()
    answer.publish = ready_refs(run.run_id)
  end
  return answer
end

return cmsgpack.pack(resume())
