--- What several operations of the protocol share. Put after records.lua; the request may carry grace, max_backoff and
-- max_crashes (as on Ledger) and ttl (seconds that an ended thread is kept).

local function set_open(thread, ns, open)
  set(thread, { ['o' .. ns] = open })
end

-- ------------------------------------------------------------------ expiry of ended threads

local function each_key(thread_id, visit)
  for _, key in ipairs({ 'thread:', 'history:', 'runs:', 'queued:', 'blobs:', 'events:', 'event-ids:' }) do
    visit(P .. key .. thread_id)
  end
  for _, member in ipairs(redis.call('ZRANGE', P .. 'history:' .. thread_id, 0, -1)) do
    visit(P .. 'checkpoint:' .. member:sub(member:find(SEP, 1, true) + 1))
  end
  for _, run_id in ipairs(redis.call('ZRANGE', P .. 'runs:' .. thread_id, 0, -1)) do
    for _, key in ipairs({ 'run:', 'tasks:', 'ready:' }) do visit(P .. key .. run_id) end
    local steps = {}
    for _, task_id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run_id, 0, -1)) do
      visit(P .. 'task:' .. task_id)
      local at = redis.call('HMGET', P .. 'task:' .. task_id, 'checkpoint_id', 'ns')
      steps[run_id .. SEP .. (at[1] or '') .. SEP .. (at[2] or '')] = true
    end
    for step in pairs(steps) do visit(P .. 'step:' .. step) end
  end
end

local function expire_thread(thread_id, at)
  local moment = string.format('%d', at)
  each_key(thread_id, function(key) redis.call('PEXPIREAT', key, moment) end)
end

local function persist_thread(thread_id)
  if redis.call('PTTL', P .. 'thread:' .. thread_id) > 0 then
    each_key(thread_id, function(key) redis.call('PERSIST', key) end)
  end
end

-- ------------------------------------------------------------------ tasks

local function make_ready(task)
  set(task, { status = 'ready', run_at = NIL, next_publish = now + request.grace, published_at = now, publishes = 0 })
end

-- A claim is void: ready again, due at once, on the fast lane.
local function give_back(task)
  set(task, { status = 'ready', token = NIL, holder = NIL, slot = NIL, next_publish = now, recovered = true })
end

local function push_publish(task)
  local publishes = (task.publishes or 0) + 1
  local wait = math.min(request.grace * 2 ^ math.min(publishes, 30), request.max_backoff)
  set(task, { publishes = publishes, published_at = now, next_publish = now + wait })
end

local function push_published(task_ids)
  for _, id in ipairs(task_ids or {}) do
    local task = load('task', id)
    if task and task.status == 'ready' and (task.publishes or 0) == 0 then push_publish(task) end
  end
end

-- The first 50 attempts and the newest 50 are kept (ATTEMPTS_KEPT of records.py).
local function log_attempt(task, outcome, error)
  local attempts = {}
  for i, entry in ipairs(task.attempts or {}) do attempts[i] = entry end
  if #attempts >= 100 then table.remove(attempts, 51) end
  attempts[#attempts + 1] = {
    attempt = task.attempt or 0,
    holder = task.holder,
    slot = task.slot,
    claimed_at = task.claimed_at,
    ended_at = now,
    outcome = outcome,
    error = error,
  }
  set(task, { attempts = attempts })
end

local function insert_task(new, run, checkpoint_id, progress)
  local ready = new.status ~= 'interrupted'
  local made = (run.made or 0) + 1
  set(run, { made = made })
  later('RPUSH', P .. 'tasks:' .. run.run_id, new.task_id)
  later('RPUSH', P .. 'step:' .. run.run_id .. SEP .. (checkpoint_id or '') .. SEP .. new.ns, new.task_id)
  return create('task', new.task_id, {
    task_id = new.task_id, run_id = run.run_id, thread_id = run.thread_id, ns = new.ns, checkpoint_id = checkpoint_id,
    path = new.path, kind = new.kind, node = new.node, queue = new.queue, priority = new.priority,
    status = ready and 'ready' or 'interrupted', arg = new.arg, timeout = new.timeout, progress = progress,
    created_at = now, n = made,
    next_publish = ready and now + request.grace or nil, published_at = ready and now or nil,
  })
end

-- The task is born claimed by the one who finishes now.
local function insert_claimed(new, run, checkpoint_id, token)
  local task = insert_task(new, run, checkpoint_id)
  set(task, {
    status = 'claimed', token = token, attempt = 1, holder = request.holder, slot = request.slot, claimed_at = now,
    started = true, next_publish = NIL, published_at = NIL,
  })
  return task
end

local function step_ids(run_id, checkpoint_id, ns)
  return redis.call('LRANGE', P .. 'step:' .. run_id .. SEP .. (checkpoint_id or '') .. SEP .. ns, 0, -1)
end

local function superstep_ids(task)
  return step_ids(task.run_id, task.checkpoint_id, task.ns)
end

-- The tasks of the supersteps that a run is at; what of it is not over is among them.
local function current_ids(run)
  local thread, found = thread_of(run.thread_id), {}
  for _, ns in ipairs(spaces_of(thread)) do
    local head = head_of(thread, ns)
    if head.run_id == run.run_id then
      for _, id in ipairs(step_ids(run.run_id, head.checkpoint_id, ns)) do found[#found + 1] = id end
    end
  end
  return found
end

-- Fields of a task, as changed so far, without loading all of it.
local function peek(task_id, ...)
  local known = cache.task[task_id]
  if not known then return redis.call('HMGET', P .. 'task:' .. task_id, ...) end
  local found = {}
  for i, name in ipairs({ ... }) do found[i] = known[name] or false end
  return found
end

-- Take a slot without claims out of the indexes, and its holder after its last one.
local function forget_slot(holder, slot)
  local slots = P .. 'slots:' .. holder
  if redis.call('EXISTS', P .. 'held:' .. holder .. SEP .. slot) == 0 and redis.call('SREM', slots, slot) == 1 then
    if redis.call('EXISTS', slots) == 0 then redis.call('SREM', P .. 'claimants', holder) end
  end
end

-- The tasks whose token is this holder's, of the given slots (nil: of all).
local function claims_of(holder, slots)
  local found = {}
  for _, slot in ipairs(slots or redis.call('SMEMBERS', P .. 'slots:' .. holder)) do
    local key = P .. 'held:' .. holder .. SEP .. slot
    local ids = redis.call('SMEMBERS', key)
    if #ids == 0 then later(forget_slot, holder, slot) end
    for _, id in ipairs(ids) do
      local task = load('task', id)
      if task then found[#found + 1] = task else later('SREM', key, id) end
    end
  end
  return found
end

-- ------------------------------------------------------------------ what answers hold

local function ref_of(task)
  local run = load('run', task.run_id)
  return {
    task_id = task.task_id, run_id = task.run_id, thread_id = task.thread_id, queue = task.queue,
    priority = task.recovered and 'high' or task.priority, graph = run.graph, node = task.node, version = run.version,
  }
end

-- The ready tasks of a run as they were made; only after flush().
local function ready_refs(run_id)
  local tasks, refs = {}, {}
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'ready:' .. run_id)) do
    local task = load('task', id)
    if task then tasks[#tasks + 1] = task end
  end
  table.sort(tasks, function(a, b) return a.n < b.n end)
  for i, task in ipairs(tasks) do refs[i] = ref_of(task) end
  return refs
end

-- The outputs are in no order: Lua's own comparison of strings follows the server's locale.
local function claim_of(task, known)
  local outputs = {}
  if task.kind == 'advance' then
    for _, id in ipairs(superstep_ids(task)) do
      local it = peek(id, 'kind', 'status', 'path', 'node', 'output')
      if it[1] == 'node' and it[2] == 'done' then
        outputs[#outputs + 1] = { path = it[3], node = it[4], output = it[5] or 'null' }
      end
    end
  end
  local thread = thread_of(task.thread_id)
  local function record(id)
    local found = id and load('checkpoint', id)
    return found and shown(found, task.thread_id) or cjson.null
  end
  local base = task.checkpoint_id
  local has_base = known and known[base] and redis.call('HEXISTS', P .. 'checkpoint:' .. base, 'quarantined') == 0
  return {
    task = shown(task),
    run = shown(load('run', task.run_id)),
    base = has_base and cjson.null or record(base),
    known = has_base and base or nil,
    width = head_of(thread, task.ns).width,
    outputs = outputs,
    child = task.child and record(head_of(thread, task.child).checkpoint_id),
  }
end

-- ------------------------------------------------------------------ runs

-- The thread rests: show its newest run among the ended ones.
local function index_ended(thread_id)
  local newest = redis.call('ZREVRANGE', P .. 'runs:' .. thread_id, 0, 0)[1]
  local it = newest and redis.call('HMGET', P .. 'run:' .. newest, 'status', 'ended_at')
  if it and SETTLED[it[1]] and it[2] then redis.call('ZADD', P .. 'ended:' .. it[1], it[2], thread_id) end
end

-- Threads that expire by themselves leave their entry: each one that ends looks at the two oldest.
local function forget_ended(status, before)
  local index = P .. 'ended:' .. status
  for _, thread_id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', text_of(before), 'LIMIT', 0, 2)) do
    if redis.call('EXISTS', P .. 'thread:' .. thread_id) == 0 then redis.call('ZREM', index, thread_id) end
  end
end

-- Make a run its thread's active one: its start task is ready, or waits for run_at. start: that task, of a run that is new and
-- was never queued.
local function activate(run, start)
  local thread = thread_of(run.thread_id)
  later(persist_thread, run.thread_id)
  if not start then later('ZREM', P .. 'queued:' .. run.thread_id, run.run_id) end
  set(thread, { thread_id = run.thread_id, active_run = run.run_id, r = run.run_id, o = 1, w = 1 })
  if run.base_id then set(thread, { c = run.base_id }) end
  start = start or load('task', redis.call('LINDEX', P .. 'tasks:' .. run.run_id, 0))
  local base = thread.c
  if start.checkpoint_id ~= base then
    local step = P .. 'step:' .. run.run_id .. SEP
    later('LREM', step .. (start.checkpoint_id or '') .. SEP .. start.ns, 1, start.task_id)
    later('RPUSH', step .. base .. SEP .. start.ns, start.task_id)
    set(start, { checkpoint_id = base })
  end
  if run.run_at and run.run_at > now then
    set(run, { status = 'waiting' })
    set(start, { run_at = run.run_at })
  else
    set(run, { status = 'queued' })
    make_ready(start)
  end
end

-- Settle a run; if it was active, the thread's next queued run starts. Returns that run's id.
local function end_run(run, status, error)
  set(run, { status = status, ended_at = now, error = error or NIL, reason = NIL })
  if run.deadline then later('ZREM', P .. 'deadlines', run.run_id) end
  local thread = thread_of(run.thread_id)
  if thread.active_run ~= run.run_id then return nil end
  set(thread, { active_run = NIL })
  local next_id = redis.call('ZRANGE', P .. 'queued:' .. run.thread_id, 0, 0)[1]
  if next_id then
    activate(load('run', next_id))
    return next_id
  end
  later(index_ended, run.thread_id)
  if request.ttl then
    later(forget_ended, status, now - request.ttl)
    later(expire_thread, run.thread_id, (now + request.ttl) * 1000)
  end
end

local function insert_checkpoint(new, thread_id, run_id)
  local seq = next_seq()
  later('SADD', P .. 'touched', thread_id)
  later('ZADD', P .. 'history:' .. thread_id, text_of(seq), new.ns .. SEP .. new.checkpoint_id)
  local fields = { thread_id = thread_id, run_id = run_id, created_at = now, seq = seq }
  for name, value in pairs(new) do fields[name] = value end
  return create('checkpoint', new.checkpoint_id, fields)
end

local next_blob = 2
-- Keep the next blobs of ARGV (a digest, then its payload) unless the thread has them; a collector that is at work must
-- not take them.
local function put_blobs(thread_id, count)
  for i = next_blob, next_blob + 2 * count - 1, 2 do
    later('HSETNX', P .. 'blobs:' .. thread_id, ARGV[i], ARGV[i + 1])
    later('SREM', P .. 'doomed:' .. thread_id, ARGV[i])
  end
  next_blob = next_blob + 2 * count
end
