--- Records as hashes, read once and written together at the end of an operation. Put before every partition script.
--
-- KEYS[1]  the partition's prefix with its hash tag, such as "petiole:{p07}:"; every key below begins with it
-- ARGV[1]  the request, msgpack; "now" (seconds) replaces the server's time; ARGV[2...] blobs, where a script takes them
--
-- Keys of a partition (␟ is the byte 31, which no id contains)
--   run:<run>            hash   a run                     task:<task>         hash  a task
--   checkpoint:<id>      hash   a checkpoint              blobs:<thread>      hash  digest -> codec NUL checksum NUL data
--   thread:<thread>      hash   active_run and, for each namespace, the head: c<ns> checkpoint, r<ns> run, o<ns> open,
--                               w<ns> width, u<ns> the task that owns it
--   history:<thread>     zset   <ns>␟<checkpoint> by seq  runs:<thread>       zset  runs by seq
--   queued:<thread>      zset   runs that wait for the active one, by seq
--   tasks:<run>          list   tasks as they were made   ready:<run>         set   its ready tasks
--   step:<run>␟<checkpoint>␟<ns>  list  the tasks of one superstep
--   next:<q>  made:<q>  sent:<q>  zsets  ready tasks of runnable runs by next_publish, created_at, published_at;
--                               <q> is <priority>|<queue>, a recovered task's priority is high
--   queues               set    every <q> that may have ready tasks
--   parked               zset   parked tasks by run_at    runs                zset  all runs by seq
--   labels               zset   what all runs are looked for by: <run>␟<thread>␟<graph>␟, and each <tag>␟; by seq
--   held:<holder>␟<slot> set    tasks whose token is the slot's                slots:<holder>  set  its slots that may have some
--   claimants            set    holders that may have slots with claims here
--   holder:<holder>      hash   this partition's copy of a worker's status and lease; holders: the set of them
--   seq                  string the last seq given out
--   open                 zset   runs that have not settled, by seq      deadlines  zset  those of them that have one, by deadline
--   ended:<status>       zset   threads by the time at which their newest run settled so; it may show threads that have
--                               gone on since or are gone: expired.lua looks
--   touched              set    threads that got checkpoints which recent.lua has not told of
--   trimming:<thread>    string the token of who trims the thread; doomed:<thread>: the set of blobs that may go then
--   graves               set    threads that are deleted but for the records that these two name:
--   buried-history:<thread>  buried-runs:<thread>   what history:<thread> and runs:<thread> were
--   item:…  items  items:…  items-over  what is of no thread: lua/items.lua
-- Schema 1 had nothing from deadlines on (index.lua makes ended and touched; no run had a deadline). Schema 2 had no u<ns>,
-- and no child, awaits and woken in tasks; schema 3 no timeout there: what is not there stands for none. Schema 3 had neither
-- open nor labels (index_runs.lua makes them).
--
-- Nothing is written before flush(): an error on the way there leaves the partition as it was.

local P, SEP, NIL = KEYS[1], '\31', {}
local request = cmsgpack.unpack(ARGV[1])
local now, time = request.now, nil -- time: the server's, once it was asked; a script has one
if not now then
  time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local RUNNABLE = { queued = true, running = true }
local HELD_BACK = { paused = true, blocked = true }
local SETTLED = { succeeded = true, failed = true, cancelled = true }
local ENDED = { done = true, failed = true, interrupted = true, cancelled = true }

-- Literal tables: a script pays for these lines at each call.
local NUMBERS = {
  task = {
    attempt = true, failures = true, crashes = true, publishes = true, run_at = true, next_publish = true,
    published_at = true, created_at = true, claimed_at = true, ended_at = true, n = true,
  },
  run = {
    run_at = true, deadline = true, created_at = true, started_at = true, ended_at = true, replays = true, seq = true,
    made = true,
  },
  checkpoint = { step = true, version = true, created_at = true, seq = true },
  thread = {},
}
local FLAGS = {
  task = { started = true, recovered = true, replaced = true, dropped = true, woken = true },
  run = {}, checkpoint = {}, thread = {},
}
local PACKED = { task = { attempts = true }, run = { tags = true }, checkpoint = { node_names = true }, thread = {} }

local function text_of(value)
  if type(value) == 'number' then return string.format('%.17g', value) end
  if value == true then return '1' end
  if type(value) == 'table' then return cmsgpack.pack(value) end
  return value
end

-- What is known of each loaded record: its key, the fields that changed, a task's places before the change.
local about, cache, touched, pending = {}, { task = {}, run = {}, checkpoint = {}, thread = {} }, {}, {}

local function adopt(kind, id, record)
  about[record] = { kind = kind, key = P .. kind .. ':' .. id, dirty = {} }
  cache[kind][id] = record
  return record
end

-- A packed table; an empty one if somebody has damaged it.
local function unpacked(value)
  local sound, found = pcall(cmsgpack.unpack, value)
  return sound and type(found) == 'table' and found or {}
end

-- Remember what the indexes must show of a run as it is stored.
local function note_status(record)
  local meta = about[record]
  meta.runnable = meta.kind == 'run' and RUNNABLE[record.status] or false
  meta.open = meta.kind == 'run' and not SETTLED[record.status]
end

local function load(kind, id)
  local known = cache[kind][id]
  if known ~= nil then return known or nil end
  local flat = redis.call('HGETALL', P .. kind .. ':' .. id)
  if #flat == 0 then
    cache[kind][id] = false
    return nil
  end
  local record, numbers, flags, packed = {}, NUMBERS[kind], FLAGS[kind], PACKED[kind]
  for i = 1, #flat, 2 do
    local name, value = flat[i], flat[i + 1]
    if numbers[name] then value = tonumber(value)
    elseif flags[name] then value = true
    elseif packed[name] then value = unpacked(value) end
    record[name] = value
  end
  adopt(kind, id, record)
  note_status(record)
  return record
end

-- Would a finish of the task under this token be taken?
local function stands(task, token)
  if not task or task.token ~= token then return false end
  if task.status ~= 'claimed' and task.status ~= 'ready' then return false end
  return not SETTLED[load('run', task.run_id).status]
end

-- A thread may have thousands of namespaces, so that its fields are read when they are first asked for. What has been
-- changed since is kept.
local function fetch(thread, names)
  local meta = about[thread]
  local values = redis.call('HMGET', meta.key, unpack(names))
  for i, name in ipairs(names) do
    if values[i] and not meta.dirty[name] then thread[name] = values[i] end
  end
end

-- A thread's own fields and the head of its root, whether it is stored or not.
local function thread_of(id)
  local known = cache.thread[id]
  if known then return known end
  local thread = adopt('thread', id, {})
  about[thread].spaces = { [''] = true }
  fetch(thread, { 'thread_id', 'active_run', 'c', 'r', 'o', 'w' })
  return thread
end

local function head_of(thread, ns)
  local spaces = about[thread].spaces
  if not spaces[ns] then
    spaces[ns] = true
    fetch(thread, { 'c' .. ns, 'r' .. ns, 'o' .. ns, 'w' .. ns, 'u' .. ns })
  end
  return {
    checkpoint_id = thread['c' .. ns],
    run_id = thread['r' .. ns],
    open = tonumber(thread['o' .. ns] or 0),
    width = tonumber(thread['w' .. ns] or 0),
    owner = thread['u' .. ns],
  }
end

-- The stored namespaces of a thread; all of its fields are read.
local function spaces_of(thread)
  local meta, found = about[thread], {}
  local flat = redis.call('HGETALL', meta.key)
  for i = 1, #flat, 2 do
    local name = flat[i]
    if not meta.dirty[name] then thread[name] = flat[i + 1] end
  end
  for i = 1, #flat, 2 do
    local kind, ns = flat[i]:sub(1, 1), flat[i]:sub(2)
    if kind == 'c' or (kind == 'r' and not thread['c' .. ns]) then
      found[#found + 1] = ns
      meta.spaces[ns] = true
    end
  end
  return found
end

-- Where the indexes must show a task.
local function places(task, runnable)
  local found = {}
  if task.status == 'ready' then
    found.ready = true
    if runnable then
      found.queue = (task.recovered and 'high' or task.priority) .. '|' .. task.queue
      found.next, found.made, found.sent = task.next_publish or now, task.created_at, task.published_at or 0
    end
  elseif task.status == 'parked' then
    found.parked = task.run_at
  end
  if task.token and task.holder and (task.status == 'claimed' or task.status == 'ready') then
    found.held = task.holder .. SEP .. task.slot
  end
  return found
end

local function touch(record)
  local meta = about[record]
  if not meta.touched then
    meta.touched = true
    touched[#touched + 1] = record
    if meta.kind == 'task' then
      local run = load('run', record.run_id)
      meta.before = meta.new and {} or places(record, run and about[run].runnable)
    end
  end
  return meta
end

-- Change fields of a record; NIL removes one.
local function set(record, changes)
  local meta = touch(record)
  for name, value in pairs(changes) do
    if value == NIL or (value == false and FLAGS[meta.kind][name]) then value = nil end
    if value ~= nil or record[name] ~= nil then
      record[name] = value
      meta.dirty[name] = true
    end
  end
end

local function create(kind, id, fields)
  local record = adopt(kind, id, {})
  about[record].new = true
  for name, value in pairs(fields) do record[name] = value end
  local meta = touch(record)
  for name in pairs(fields) do meta.dirty[name] = true end
  return record
end

-- What a run is looked for by, as labels show it.
local function labels_of(run_id, thread_id, graph, tags)
  local labels = run_id .. SEP .. thread_id .. SEP .. graph .. SEP
  for _, tag in ipairs(tags) do labels = labels .. tag .. SEP end
  return labels
end

local function later(...) pending[#pending + 1] = { ... } end

local last_seq
local function next_seq()
  if not last_seq then
    time = time or redis.call('TIME')
    last_seq = math.max(tonumber(redis.call('GET', P .. 'seq') or 0), time[1] * 1000000 + time[2])
  end
  last_seq = last_seq + 1
  return last_seq
end

local function move(task_id, key, before, after, score)
  if before and before ~= after then redis.call('ZREM', P .. key .. before, task_id) end
  if after then redis.call('ZADD', P .. key .. after, text_of(score), task_id) end
end

local function place(task, before, after)
  local id = task.task_id
  if before.ready ~= after.ready then
    redis.call(after.ready and 'SADD' or 'SREM', P .. 'ready:' .. task.run_id, id)
  end
  if before.queue or after.queue then
    if after.queue and before.queue ~= after.queue then redis.call('SADD', P .. 'queues', after.queue) end
    move(id, 'next:', before.queue, after.queue, after.next)
    move(id, 'made:', before.queue, after.queue, after.made)
    move(id, 'sent:', before.queue, after.queue, after.sent)
  end
  if before.parked ~= after.parked then
    move(id, 'parked', before.parked and '', after.parked and '', after.parked)
  end
  if before.held ~= after.held then
    if before.held then redis.call('SREM', P .. 'held:' .. before.held, id) end
    if after.held then
      redis.call('SADD', P .. 'held:' .. after.held, id)
      redis.call('SADD', P .. 'slots:' .. task.holder, task.slot)
      redis.call('SADD', P .. 'claimants', task.holder)
    end
  end
end

local function write(record, meta)
  local put, drop = { 'HSET', meta.key }, { 'HDEL', meta.key }
  for name in pairs(meta.dirty) do
    local value = record[name]
    if value == nil then
      drop[#drop + 1] = name
    else
      put[#put + 1] = name
      put[#put + 1] = text_of(value)
    end
  end
  if meta.new then redis.call('DEL', meta.key) end
  if #put > 2 then redis.call(unpack(put)) end
  if #drop > 2 and not meta.new then redis.call(unpack(drop)) end
end

-- Write every change and its index entries.
local function flush()
  local count = #touched
  for i = 1, count do
    local record, meta = touched[i], about[touched[i]]
    if meta.kind == 'run' and not meta.new and meta.runnable ~= (RUNNABLE[record.status] or false) then
      for _, id in ipairs(redis.call('SMEMBERS', P .. 'ready:' .. record.run_id)) do
        local task = load('task', id)
        if task then touch(task) end
      end
    end
  end
  for _, record in ipairs(touched) do
    local meta = about[record]
    write(record, meta)
    if meta.kind == 'task' then
      local run = load('run', record.run_id)
      place(record, meta.before, places(record, run and RUNNABLE[run.status]))
    elseif meta.kind == 'run' and (meta.open or false) == (SETTLED[record.status] or false) then
      if meta.open then
        redis.call('ZREM', P .. 'open', record.run_id)
      else
        redis.call('ZADD', P .. 'open', text_of(record.seq or 0), record.run_id)
      end
    end
  end
  for _, record in ipairs(touched) do
    local meta = about[record]
    meta.dirty, meta.touched, meta.new, meta.before = {}, nil, nil, nil
    note_status(record)
  end
  if last_seq then redis.call('SET', P .. 'seq', text_of(last_seq)) end
  touched, last_seq = {}, nil
  local commands = pending
  pending = {}
  for _, command in ipairs(commands) do
    if type(command[1]) == 'function' then command[1](unpack(command, 2)) else redis.call(unpack(command)) end
  end
end

-- A damaged checkpoint is answered as well as it can be: its digest and seal tell the reader that it is not what was written.
local function mend(copy, thread_id)
  copy.thread_id = thread_id or copy.thread_id
  for _, name in ipairs({ 'thread_id', 'source', 'state', 'digest' }) do copy[name] = copy[name] or '' end
  for _, name in ipairs({ 'step', 'seq', 'version' }) do
    local number = copy[name]
    if not number or number % 1 ~= 0 or math.abs(number) > 2 ^ 53 then copy[name] = -2 end
  end
  local time = copy.created_at
  if not time or time ~= time or math.abs(time) > 2 ^ 53 then copy.created_at = 0 end
  local names, count = copy.node_names or {}, 0
  for _, name in pairs(names) do
    if type(name) == 'string' then count = count + 1 end
  end
  for _ in ipairs(names) do count = count - 1 end
  copy.node_names = count == 0 and names or {}
end

-- A copy of a record for an answer, with null where its class requires a value or null; thread_id: that of a checkpoint,
-- where it is known for sure.
local function shown(record, thread_id)
  local kind, copy = about[record].kind, {}
  for name, value in pairs(record) do copy[name] = value end
  if kind == 'task' then
    copy.checkpoint_id = copy.checkpoint_id or cjson.null
    if copy.attempts then
      local attempts = {}
      for i, attempt in ipairs(copy.attempts) do
        local entry = { holder = cjson.null, slot = cjson.null, claimed_at = cjson.null }
        for name, value in pairs(attempt) do entry[name] = value end
        attempts[i] = entry
      end
      copy.attempts = attempts
    end
  elseif kind == 'checkpoint' then
    copy.checkpoint_id = about[record].key:sub(#P + #'checkpoint:' + 1)
    copy.parent_id, copy.run_id = copy.parent_id or cjson.null, copy.run_id or cjson.null
    mend(copy, thread_id)
  end
  return copy
end
