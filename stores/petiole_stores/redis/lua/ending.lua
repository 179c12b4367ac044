--- How supersteps, namespaces and runs end, and are opened again. Put after protocol.lua.
--
-- What ends a namespace returns what that leaves to publish, for left_refs: {run: the id of a run that starts} or
-- {task: the owner that is ready}.

-- The task that waits for a namespace; nil for the root.
local function owner_of(thread, ns)
  local id = ns ~= '' and head_of(thread, ns).owner
  return id and load('task', id) or nil
end

-- Is a before b, byte by byte (in every locale)?
local function earlier(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- How the superstep of a task, in which nothing is open, has ended ("done": all went well), and its error.
local function verdict(task)
  local failed, failed_path, interrupted, cancelled
  for _, id in ipairs(superstep_ids(task)) do
    local it = peek(id, 'status', 'replaced', 'path')
    if not it[2] then
      if it[1] == 'failed' then
        if not failed or earlier(it[3], failed_path) then failed, failed_path = id, it[3] end
      elseif it[1] == 'interrupted' then interrupted = true
      elseif it[1] == 'cancelled' then cancelled = true end
    end
  end
  if failed then return 'failed', peek(failed, 'error')[1] end
  return interrupted and 'interrupted' or cancelled and 'cancelled' or 'done'
end

local end_namespace

-- A task has ended that did not go well: one less is open in its superstep, which may end so, too.
local function count_down(run, task)
  local thread = thread_of(run.thread_id)
  local open = head_of(thread, task.ns).open - 1
  set_open(thread, task.ns, open)
  if open > 0 then return {} end
  return end_namespace(run, task.ns, verdict(task))
end

-- What becomes of the run, or of the task that owns the namespace: it succeeded, failed, was interrupted or cancelled.
function end_namespace(run, ns, ending, error)
  local owner = owner_of(thread_of(run.thread_id), ns)
  if not owner then
    if ending ~= 'interrupted' then return { run = end_run(run, ending, error) } end
    set(run, { status = 'interrupted', reason = NIL })
    return {}
  end
  if ending == 'succeeded' then
    make_ready(owner)
    return { task = owner }
  end
  set(owner, { status = ending, ended_at = now, error = error or NIL })
  return count_down(run, owner)
end

-- The TaskRefs of what an end leaves to publish; only after flush().
local function left_refs(left)
  if left.run then return ready_refs(left.run) end
  return left.task and { ref_of(left.task) } or {}
end

local wait_again

-- Count a task that goes on, and let its owner wait for it again.
local function reopen(task)
  local thread = thread_of(task.thread_id)
  set_open(thread, task.ns, head_of(thread, task.ns).open + 1)
  local owner = owner_of(thread, task.ns)
  if owner then wait_again(owner) end
end

-- A task that ended with its namespace waits for that again.
function wait_again(owner)
  if not ENDED[owner.status] then return end
  set(owner, { status = 'parked', ended_at = NIL, error = NIL, run_at = NIL })
  reopen(owner)
end

-- End the tasks of a run that are not over, with these changes beside the status; its heads have no open task then and it
-- waits for no other run. Returns how many there were.
local function end_tasks(run, status, changes)
  local ended = 0
  for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run.run_id, 0, -1)) do
    local found = peek(id, 'status')[1]
    if found and (not ENDED[found] or found == 'interrupted') then
      local task = load('task', id)
      set(task, { status = status, ended_at = now, next_publish = NIL, run_at = NIL })
      if changes then set(task, changes) end
      ended = ended + 1
    end
  end
  local thread = thread_of(run.thread_id)
  for _, ns in ipairs(spaces_of(thread)) do
    if head_of(thread, ns).run_id == run.run_id then set_open(thread, ns, 0) end
  end
  later('ZREM', P .. 'queued:' .. run.thread_id, run.run_id)
  return ended
end
