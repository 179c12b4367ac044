--- include records protocol ending
-- Let an interrupted run go on. KEYS[1] prefix; ARGV[1] {run_id, answers? (a list of Resumption; all tasks without), grace,
-- now?}. Answers an Answer.

-- A Resumption for every interrupted task of the run, but for owners.
local function for_all(run)
  local found = {}
  for _, id in ipairs(current_ids(run)) do
    local it = peek(id, 'status', 'child', 'done_token')
    if it[1] == 'interrupted' and not it[2] then found[#found + 1] = { task_id = id, token = it[3] or '' } end
  end
  return found
end

local function is_stale(run, answers)
  for _, answer in ipairs(answers) do
    local task = load('task', answer.task_id)
    if not task or task.run_id ~= run.run_id or task.child then return true end
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
  local answers = request.answers or (RUNNABLE[run.status] and {} or for_all(run))
  if is_stale(run, answers) then
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
