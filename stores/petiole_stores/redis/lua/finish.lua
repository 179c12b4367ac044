--- include records protocol ending
-- End attempts of one partition; each outcome is judged and written on its own. KEYS[1] prefix; ARGV[1] {holder, slot,
-- outcomes, grace, ttl?, now?}, each outcome an Outcome with "blobs" as a count; ARGV[2...] digest and payload of the
-- blobs, in order. Answers a list of FinishAnswer.

-- Why a task cannot open a namespace, or go on in it.
local function refusal_below(nest, run)
  local first = nest.checkpoints[1]
  if head_of(thread_of(run.thread_id), first.ns).checkpoint_id ~= first.parent_id then return 'head moved' end
  for _, id in ipairs(step_ids(run.run_id, first.parent_id, first.ns)) do
    local it = peek(id, 'status', 'replaced')
    if it[1] and it[1] ~= 'done' and it[1] ~= 'cancelled' and not it[2] then return 'busy' end
  end
end

local function refusal(outcome, task, run, head)
  if task.token ~= outcome.token then return 'fenced' end
  if SETTLED[run.status] then return 'run ' .. run.status end
  if task.status ~= 'claimed' and task.status ~= 'ready' then return 'fenced' end
  if outcome.settle then
    if task.kind == 'node' and head.width ~= 1 then return 'not alone' end
    if head.checkpoint_id ~= outcome.settle.checkpoints[1].parent_id then return 'head moved' end
  end
  if outcome.nest then return refusal_below(outcome.nest, run) end
end

-- The attempt is over, the task is not.
local function put_off(task, outcome)
  log_attempt(task, outcome.ending, outcome.error)
  set(task, { done_token = outcome.token, token = NIL, holder = NIL, slot = NIL, progress = outcome.progress })
  if outcome.ending == 'retry' then
    set(task, { failures = (task.failures or 0) + 1, error = outcome.error or NIL })
  end
  local awaits = outcome.awaits ~= ''
  if not (awaits or outcome.nest or outcome.delay > 0) or (awaits and task.woken) then
    make_ready(task)
  else
    set(task, {
      status = 'parked', next_publish = NIL, awaits = awaits and outcome.awaits or NIL,
      run_at = outcome.delay > 0 and now + outcome.delay or NIL,
    })
  end
end

-- The tasks that this call ends.
local ends = {}
for _, outcome in ipairs(request.outcomes) do ends[outcome.task_id] = true end

-- Move a namespace on; returns what its end, if it is one, leaves to publish.
local function settle(run, thread, ns, new)
  local head
  for _, checkpoint in ipairs(new.checkpoints) do
    insert_checkpoint(checkpoint, run.thread_id, run.run_id)
    head = checkpoint.checkpoint_id
  end
  set(thread, { ['c' .. ns] = head })
  if ns == '' then set(run, { checkpoint_id = head }) end
  if not run.version and not run.fingerprint then
    set(run, { version = new.version, fingerprint = new.fingerprint })
  end
  local held_back, open = HELD_BACK[run.status], 0
  for _, made in ipairs(new.tasks) do
    if made.token and (not held_back or ends[made.task_id]) then
      insert_claimed(made, run, head, made.token)
    else
      insert_task(made, run, head)
    end
    if made.status == 'ready' then open = open + 1 end
  end
  set(thread, { ['w' .. ns] = #new.tasks, ['o' .. ns] = open })
  if new.run_status ~= 'running' then return end_namespace(run, ns, new.run_status) end
  if ns == '' and not held_back then set(run, { status = 'running', reason = NIL }) end
  return {}
end

-- Open a namespace, or go on in one: the task waits for its end.
local function nest(task, run, thread, new)
  local ns = new.checkpoints[1].ns
  set(thread, { ['r' .. ns] = run.run_id, ['u' .. ns] = task.task_id })
  set(task, { child = ns })
  return settle(run, thread, ns, new)
end

local function finish(outcome)
  local answer = { task_id = outcome.task_id, result = 'refused', reason = 'missing' }
  local task = load('task', outcome.task_id)
  if not task then return answer end
  local run, thread = load('run', task.run_id), thread_of(task.thread_id)
  local head = head_of(thread, task.ns)
  answer.open, answer.run_status = head.open, run.status
  if task.done_token == outcome.token then
    local advance = load('task', outcome.advance_id)
    if advance and advance.status == 'claimed' and advance.token == outcome.advance_token then
      answer.advance = claim_of(advance)
    end
    answer.result, answer.reason = 'already', ''
    return answer
  end
  answer.reason = refusal(outcome, task, run, head)
  if answer.reason then return answer end
  answer.result = 'committed'
  return answer, task, run, thread, head
end

local function commit(outcome, answer, task, run, thread, head)
  put_blobs(run.thread_id, outcome.blobs)
  if outcome.ending == 'retry' or outcome.ending == 'parked' then
    put_off(task, outcome)
    local left = outcome.nest and nest(task, run, thread, outcome.nest)
    flush()
    if left then
      answer.publish = left_refs(left)
      answer.open, answer.run_status = head_of(thread, task.ns).open, run.status
    end
    return
  end
  set(task, {
    status = outcome.ending, ended_at = now, done_token = outcome.token, output = outcome.output or NIL,
    error = outcome.error or NIL, progress = outcome.ending == 'interrupted' and outcome.progress or nil,
  })
  local ns, left, advance = task.ns, {}, nil
  set_open(thread, ns, head.open - 1)
  if outcome.settle then
    left = settle(run, thread, ns, outcome.settle)
  elseif head.open == 1 then
    local ending, error = verdict(task)
    if ending ~= 'done' then
      left = end_namespace(run, ns, ending, error)
    else
      advance = insert_claimed({
        task_id = outcome.advance_id, path = 'advance', node = 'advance', kind = 'advance', ns = ns,
        queue = outcome.advance_queue, priority = task.priority,
      }, run, task.checkpoint_id, outcome.advance_token)
      set_open(thread, ns, 1)
    end
  end
  flush()
  answer.publish = left_refs(left)
  if advance then answer.advance = claim_of(advance) end
  answer.open, answer.run_status = head_of(thread, ns).open, run.status
end

local answers = {}
for i, outcome in ipairs(request.outcomes) do
  local answer, task, run, thread, head = finish(outcome)
  if task then
    commit(outcome, answer, task, run, thread, head)
  else
    next_blob = next_blob + 2 * outcome.blobs
  end
  answers[i] = answer
end
return cmsgpack.pack(answers)
