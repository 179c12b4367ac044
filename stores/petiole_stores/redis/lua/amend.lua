--- include records protocol ending
-- Put checkpoints made by hand at the head of a namespace. KEYS[1] prefix; ARGV[1] {amendment (an Amendment with "blobs"
-- as a count), grace, ttl?, now?}; ARGV[2...] digest and payload of the blobs. Answers an Answer.

local new = request.amendment
local thread, ns = thread_of(new.thread_id), new.ns
local run = thread.active_run and load('run', thread.active_run)

-- The ids of the run's tasks by namespace.
local by_space
local function tasks_in(space)
  if not by_space then
    by_space = {}
    for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run.run_id, 0, -1)) do
      local its = peek(id, 'ns')[1]
      if its then
        by_space[its] = by_space[its] or {}
        table.insert(by_space[its], id)
      end
    end
  end
  return by_space[space] or {}
end

-- Is a task of the run claimed, or ready under a token?
local function is_at_work()
  for _, id in ipairs(current_ids(run)) do
    local it = peek(id, 'status', 'token')
    if it[1] == 'claimed' or (it[1] == 'ready' and it[2]) then return true end
  end
end

-- Would the end of the namespace be the end of the run, or of a wait of one of its tasks?
local function is_waited_for()
  local owner = owner_of(thread, ns)
  if ns == '' or not owner then return ns == '' end
  if owner.run_id ~= run.run_id or owner.child ~= ns then return false end
  if owner.status ~= 'interrupted' then
    return owner.status == 'parked' and not owner.run_at and not owner.awaits
  end
  for _, id in ipairs(tasks_in(ns)) do
    if peek(id, 'status')[1] == 'interrupted' then return true end
  end
  return false
end

local function refusal()
  if run and run.status ~= 'interrupted' and (run.status ~= 'paused' or is_at_work()) then return 'busy' end
  local parent_id = new.checkpoints[1].parent_id
  if parent_id then
    local parent = load('checkpoint', parent_id)
    if not parent or parent.thread_id ~= new.thread_id or parent.ns ~= ns then return 'no base' end
  end
  if head_of(thread, ns).checkpoint_id ~= new.head_id then return 'head moved' end
  if #new.tasks > 0 and not (run and is_waited_for()) then return 'no run' end
end

-- Take off what is not over, or failed, of a namespace and of those below it.
local function withdraw(space)
  for _, id in ipairs(tasks_in(space)) do
    local it = peek(id, 'status', 'replaced', 'child')
    if it[1] ~= 'done' and it[1] ~= 'cancelled' and not it[2] then
      if it[3] then
        withdraw(it[3])
        set_open(thread, it[3], 0)
      end
      local task = load('task', id)
      set(task, { replaced = true })
      if task.status ~= 'failed' then
        set(task, { status = 'cancelled', ended_at = now, next_publish = NIL, run_at = NIL })
      end
    end
  end
end

-- Put the tasks in the place of the active run's; returns what that leaves to publish.
local function go_on(head_id)
  local waits, count = run.status == 'interrupted', #new.tasks
  withdraw(ns)
  for _, made in ipairs(new.tasks) do
    made.status = waits and 'interrupted' or 'ready'
    insert_task(made, run, head_id)
  end
  set(thread, { ['r' .. ns] = run.run_id, ['w' .. ns] = count, ['o' .. ns] = waits and 0 or count })
  if ns == '' then set(run, { checkpoint_id = head_id }) end
  if count > 0 and waits then return {} end
  local owner = owner_of(thread, ns)
  if owner then
    wait_again(owner)
    if waits then set(run, { status = 'running' }) end
  end
  if count > 0 then return { run = run.run_id } end
  return end_namespace(run, ns, 'succeeded')
end

local function amend()
  local answer = { run_id = run and run.run_id or '', result = 'refused' }
  if load('checkpoint', new.checkpoints[#new.checkpoints].checkpoint_id) then
    answer.result = 'already'
    return answer
  end
  answer.reason = refusal()
  if answer.reason then return answer end
  local expires_in, head_id = redis.call('PTTL', about[thread].key), nil
  put_blobs(new.thread_id, new.blobs)
  for _, checkpoint in ipairs(new.checkpoints) do
    head_id = insert_checkpoint(checkpoint, new.thread_id, run and run.run_id).checkpoint_id
  end
  set(thread, { thread_id = new.thread_id, ['c' .. ns] = head_id })
  local left = run and is_waited_for() and go_on(head_id) or {}
  flush()
  if expires_in > 0 then expire_thread(new.thread_id, redis.call('PEXPIRETIME', about[thread].key)) end
  answer.result, answer.publish = 'committed', left_refs(left)
  return answer
end

return cmsgpack.pack(amend())
