--- include records protocol
-- One step of trimming a thread; steps are bounded, and all but the removals only read. KEYS[1] prefix; ARGV[1] {step,
-- thread, token, …}. Who trims holds the lock trimming:<thread> under its token; without it every step answers null.
--   "begin"    take the lock (keep: milliseconds for which it is kept from step to step). Answers {count (of checkpoints),
--              blobs (digests), dead}; the blobs are doomed from now on, unless somebody puts one again; dead: as below
--   "runs"     a page (seq, offset: where it begins; most) of runs and their tasks. Answers {bases, tasks, named, seq,
--              offset}: tasks are {task, run, ns, checkpoint or "", over, named}, named the blobs that documents name (names:
--              whether to look), seq and offset where to go on (absent at the end)
--   "history"  a page of checkpoints, oldest first (after: above this seq; most). Answers a list of {seq, ns, id}
--   "remove"   checkpoints: a list of {ns, id, tasks: a list of {task, run, ns}, whether the checkpoint goes too}, unless a
--              head or a run newer than seen needs one. Answers {checkpoints, tasks, kept}: how many went, who did not
--   "dead"     the namespaces that died with their owner. Answers a list of them; their heads keep no checkpoint
--   "forget"   remove the heads of these namespaces (spaces), as far as they are dead. Answers true
--   "names"    the blobs that a page of checkpoints names (after, most). Answers {named, seq (absent at the end)}
--   "collect"  remove blobs (digests) that are still doomed and that no checkpoint after this seq names. Answers the number
--   "end"      let go of the lock. Answers true

local thread_id = request.thread
local lock, doomed = P .. 'trimming:' .. thread_id, P .. 'doomed:' .. thread_id
local history, runs, blobs = P .. 'history:' .. thread_id, P .. 'runs:' .. thread_id, P .. 'blobs:' .. thread_id
-- A page ends after so many bytes of documents.
local BYTES = 4000000

-- Add the digests that the documents may refer to; returns the size of the documents.
local function add_names(named, documents)
  local size = 0
  for _, text in ipairs(documents) do
    if text then
      size = size + #text
      if text:find('"$blob"', 1, true) then
        for digest in text:gmatch('"%$blob"%s*:%s*"([^"\\]+)"') do named[digest] = true end
      end
    end
  end
  return size
end

local function listed(names)
  local found = {}
  for name in pairs(names) do found[#found + 1] = name end
  return found
end

local function checkpoint_names(named, id)
  return add_names(named, redis.call('HMGET', P .. 'checkpoint:' .. id, 'state', 'next', 'control', 'metadata'))
end

local function id_of(member)
  local split = member:find(SEP, 1, true)
  return member:sub(split + 1), member:sub(1, split - 1)
end

-- The namespaces whose owner is gone and who die with it: their names have a ":" after the last "|".
local function dead_spaces(thread)
  local dead = {}
  for _, ns in ipairs(spaces_of(thread)) do
    local owner = head_of(thread, ns).owner
    if owner and ns:match('[^|]*$'):find(':', 1, true) and redis.call('EXISTS', P .. 'task:' .. owner) == 0 then
      dead[ns] = true
    end
  end
  return dead
end

local steps = {}

function steps.dead()
  return listed(dead_spaces(thread_of(thread_id)))
end

function steps.forget()
  local dead = dead_spaces(thread_of(thread_id))
  for _, ns in ipairs(request.spaces) do
    if dead[ns] then redis.call('HDEL', P .. 'thread:' .. thread_id, 'c' .. ns, 'r' .. ns, 'o' .. ns, 'w' .. ns, 'u' .. ns) end
  end
  return true
end

function steps.begin()
  if redis.call('EXISTS', P .. 'thread:' .. thread_id) == 0 then return cjson.null end
  if not redis.call('SET', lock, request.token, 'NX', 'PX', request.keep) then return cjson.null end
  local digests = redis.call('HKEYS', blobs)
  redis.call('DEL', doomed)
  for _, digest in ipairs(digests) do redis.call('SADD', doomed, digest) end
  return { count = redis.call('ZCARD', history), blobs = digests, dead = steps.dead() }
end

function steps.runs()
  local answer, left, size = { bases = {}, tasks = {} }, request.most, 0
  local named, offset = {}, request.offset
  local page = redis.call('ZRANGEBYSCORE', runs, text_of(request.seq), '+inf', 'WITHSCORES', 'LIMIT', 0, left)
  for i = 1, #page, 2 do
    local run_id, seq = page[i], tonumber(page[i + 1])
    if left <= 0 or size > BYTES then
      answer.seq, answer.offset = seq, offset
      break
    end
    answer.seen = seq
    local run = redis.call('HMGET', P .. 'run:' .. run_id, 'base_id', 'input', 'metadata', 'config')
    if run[1] then answer.bases[#answer.bases + 1] = run[1] end
    if request.names then size = size + add_names(named, { run[2], run[3], run[4] }) end
    local ids = redis.call('LRANGE', P .. 'tasks:' .. run_id, offset, offset + left - 1)
    for number, id in ipairs(ids) do
      local it = redis.call('HMGET', P .. 'task:' .. id, 'status', 'checkpoint_id', 'ns')
      local mine = {}
      if request.names then
        size = size + add_names(mine, redis.call('HMGET', P .. 'task:' .. id, 'arg', 'output', 'progress'))
      end
      local over = (ENDED[it[1]] and it[1] ~= 'interrupted') or not it[1]
      answer.tasks[#answer.tasks + 1] = { id, run_id, it[3] or '', it[2] or '', over, listed(mine) }
      if size > BYTES then
        ids = { unpack(ids, 1, number) }
        break
      end
    end
    left = left - #ids - 1
    offset = offset + #ids
    if redis.call('LLEN', P .. 'tasks:' .. run_id) > offset then
      answer.seq, answer.offset = seq, offset
      break
    end
    offset = 0
    if i == #page - 1 and #page == 2 * request.most then answer.seq, answer.offset = seq + 1, 0 end
  end
  answer.named = listed(named)
  return answer
end

local function page_of_history()
  local after = '(' .. text_of(request.after)
  return redis.call('ZRANGEBYSCORE', history, after, '+inf', 'WITHSCORES', 'LIMIT', 0, request.most)
end

function steps.history()
  local page, found = page_of_history(), {}
  for i = 1, #page, 2 do
    local id, ns = id_of(page[i])
    found[#found + 1] = { tonumber(page[i + 1]), ns, id }
  end
  return found
end

function steps.remove()
  local kept, done = {}, { checkpoints = 0, tasks = 0, kept = {} }
  local thread = thread_of(thread_id)
  local dead = dead_spaces(thread)
  for _, ns in ipairs(spaces_of(thread)) do
    local head = head_of(thread, ns).checkpoint_id
    if head and not dead[ns] then
      kept[head] = true
      kept[redis.call('HGET', P .. 'checkpoint:' .. head, 'parent_id') or head] = true
    end
  end
  for _, run_id in ipairs(redis.call('ZRANGEBYSCORE', runs, '(' .. text_of(request.seen), '+inf')) do
    local base = redis.call('HGET', P .. 'run:' .. run_id, 'base_id')
    if base then kept[base] = true end
  end
  for _, it in ipairs(request.checkpoints) do
    local ns, id, tasks, last = it[1], it[2], it[3], it[4]
    if kept[id] then
      done.kept[#done.kept + 1] = id
    else
      for _, task in ipairs(tasks) do
        redis.call('LREM', P .. 'tasks:' .. task[2], 1, task[1])
        redis.call('UNLINK', P .. 'step:' .. task[2] .. SEP .. id .. SEP .. task[3])
        done.tasks = done.tasks + redis.call('UNLINK', P .. 'task:' .. task[1])
      end
      if last then
        redis.call('UNLINK', P .. 'checkpoint:' .. id)
        done.checkpoints = done.checkpoints + redis.call('ZREM', history, ns .. SEP .. id)
      end
    end
  end
  return done
end

function steps.names()
  local page, named, size = page_of_history(), {}, 0
  local answer = {}
  for i = 1, #page, 2 do
    size = size + checkpoint_names(named, (id_of(page[i])))
    if size > BYTES or i == 2 * request.most - 1 then
      answer.seq = tonumber(page[i + 1])
      break
    end
  end
  answer.named = listed(named)
  return answer
end

function steps.collect()
  local named, count = {}, 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', history, '(' .. text_of(request.after), '+inf')) do
    checkpoint_names(named, (id_of(member)))
  end
  for _, digest in ipairs(request.blobs) do
    if not named[digest] and redis.call('SREM', doomed, digest) == 1 then
      count = count + redis.call('HDEL', blobs, digest)
    end
  end
  return count
end

steps['end'] = function()
  redis.call('DEL', lock, doomed)
  return true
end

local step = request.step
if step ~= 'begin' and redis.call('GET', lock) ~= request.token then return cmsgpack.pack(cjson.null) end
redis.call('PEXPIRE', lock, request.keep)
redis.call('PEXPIRE', doomed, request.keep)
return cmsgpack.pack(steps[step]())
