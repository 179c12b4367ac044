--- include records protocol ending
-- Let a failed run go on with new tasks in place of its failed ones. KEYS[1] prefix; ARGV[1] {run_id, replacements: pairs
-- of ids, grace, now?}. Answers an Answer.

-- The ids of the failed tasks that a replay must name, how many there are, and whether the thread has gone on since one
-- failed. Owners with a failed task in their namespace are none of them.
local function failed_of(run, thread)
  local failed, spaces, stale = {}, {}, false
  for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run.run_id, 0, -1)) do
    local it = peek(id, 'status', 'replaced', 'ns', 'checkpoint_id', 'child')
    if it[1] == 'failed' and not it[2] then
      local head = head_of(thread, it[3])
      if head.run_id ~= run.run_id or head.checkpoint_id ~= (it[4] or nil) then stale = true end
      failed[id], spaces[it[3]] = it[5] or '', true
    end
  end
  local leaves, count = {}, 0
  for id, child in pairs(failed) do
    if child == '' or not spaces[child] then leaves[id], count = true, count + 1 end
  end
  return leaves, count, stale
end

local function refusal(run, thread)
  local failed, count, stale = failed_of(run, thread)
  if run.status ~= 'failed' then return 'run ' .. run.status end
  if thread.active_run then return 'busy' end
  if stale then return 'head moved' end
  local named, found = {}, 0
  for _, pair in ipairs(request.replacements) do
    if not failed[pair[1]] then return 'stale' end
    if not named[pair[1]] then named[pair[1]], found = true, found + 1 end
  end
  if count == 0 or found ~= count then return 'stale' end
end

local function replace(run, thread, old, new_id)
  set(old, { replaced = true })
  local made = insert_task({
    task_id = new_id, path = old.path, node = old.node, kind = old.kind, ns = old.ns, queue = old.queue,
    priority = old.priority, arg = old.arg, timeout = old.timeout,
  }, run, old.checkpoint_id, old.progress)
  if old.child then
    set(made, { child = old.child })
    if head_of(thread, old.child).owner == old.task_id then set(thread, { ['u' .. old.child] = new_id }) end
  end
  reopen(made)
end

local function replay()
  local answer = { run_id = request.run_id, result = 'refused' }
  local run = load('run', request.run_id)
  if not run then
    answer.reason = 'missing'
    return answer
  end
  local first = request.replacements[1]
  if first and load('task', first[2]) then
    answer.result = 'already'
    return answer
  end
  local thread = thread_of(run.thread_id)
  answer.reason = refusal(run, thread)
  if answer.reason then return answer end
  for _, pair in ipairs(request.replacements) do replace(run, thread, load('task', pair[1]), pair[2]) end
  set(run, { status = 'queued', ended_at = NIL, error = NIL, deadline = NIL, replays = (run.replays or 0) + 1 })
  set(thread, { active_run = run.run_id })
  later(persist_thread, run.thread_id)
  flush()
  answer.result, answer.publish = 'committed', ready_refs(run.run_id)
  return answer
end

return cmsgpack.pack(replay())
