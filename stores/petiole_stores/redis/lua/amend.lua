--- include records protocol ending
-- Put checkpoints made by hand at the head of a namespace. KEYS[1] prefix; ARGV[1] {amendment (an Amendment with "blobs"
-- as a count), grace, ttl?, now?}; ARGV[2...] digest and payload of the blobs. Answers an Answer.

local new = request.amendment
local thread, ns = thread_of(new.thread_id), new.ns
local run = thread.active_run and load('run', thread.active_run)

local function is_over(status)
  return ENDED[status] and status ~= 'interrupted'
end

-- Is a task of the run claimed, or ready under a token?
local function taken()
  for _, id in ipairs(current_ids(run)) do
    local it = peek(id, 'status', 'token')
    if it[1] == 'claimed' or (it[1] == 'ready' and it[2]) then return true end
  end
end

-- Does the run, or a task of it, wait for the end of the namespace?
local function is_awaited()
  if not run or ns == '' then return run ~= nil end
  local owner = owner_of(thread, ns)
  if not owner or owner.run_id ~= run.run_id then return false end
  return owner.status == 'interrupted' or (owner.status == 'parked' and not owner.run_at and not owner.awaits)
end

local function refusal()
  if run and run.status ~= 'interrupted' and (run.status ~= 'paused' or taken()) then return 'busy' end
  local parent_id = new.checkpoints[1].parent_id
  if parent_id then
    local parent = load('checkpoint', parent_id)
    if not parent or parent.thread_id ~= new.thread_id or parent.ns ~= ns then return 'no base' end
  end
  if head_of(thread, ns).checkpoint_id ~= new.head_id then return 'head moved' end
  if #new.tasks > 0 and not is_awaited() then return 'no run' end
end

-- Cancel what is not over of a namespace and of those below it.
local function withdraw(space)
  for _, id in ipairs(step_ids(run.run_id, head_of(thread, space).checkpoint_id, space)) do
    local task = load('task', id)
    if task and not is_over(task.status) then
      if task.child then
        withdraw(task.child)
        set_open(thread, task.child, 0)
      end
      set(task, { status = 'cancelled', ended_at = now, replaced = true, next_publish = NIL, run_at = NIL })
    end
  end
end

-- Put the tasks in the place of the active run's; returns what the end of the namespace leaves to publish.
local function go_on(head_id)
  local open = 0
  for _, made in ipairs(new.tasks) do
    insert_task(made, run, head_id)
    if made.status == 'ready' then open = open + 1 end
  end
  set(thread, { ['r' .. ns] = run.run_id, ['w' .. ns] = #new.tasks, ['o' .. ns] = open })
  if ns == '' then set(run, { checkpoint_id = head_id }) end
  local owner = owner_of(thread, ns)
  if owner and ENDED[owner.status] and (open > 0 or #new.tasks == 0) then
    set(owner, { status = 'parked', ended_at = NIL, error = NIL })
    reopen(owner)
  end
  if #new.tasks > 0 then return { run = run.run_id } end
  if owner and run.status == 'interrupted' then set(run, { status = 'running' }) end
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
  local awaited = is_awaited()
  if awaited then withdraw(ns) end
  for _, checkpoint in ipairs(new.checkpoints) do
    head_id = insert_checkpoint(checkpoint, new.thread_id, run and run.run_id).checkpoint_id
  end
  set(thread, { thread_id = new.thread_id, ['c' .. ns] = head_id })
  local left = awaited and go_on(head_id) or {}
  flush()
  if expires_in > 0 then expire_thread(new.thread_id, redis.call('PEXPIRETIME', about[thread].key)) end
  answer.result, answer.publish = 'committed', left_refs(left)
  return answer
end

return cmsgpack.pack(amend())
