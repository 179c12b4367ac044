--- Deleting threads in pieces. Put after records.lua. A thread is taken out of sight at once: its history and runs are
-- put aside under other names, and the records that these name are deleted piece by piece, each with its index entries.

-- Put a thread without an active run aside.
local function bury(thread_id)
  for _, name in ipairs({ 'history:', 'runs:' }) do
    if redis.call('EXISTS', P .. name .. thread_id) == 1 then
      redis.call('RENAME', P .. name .. thread_id, P .. 'buried-' .. name .. thread_id)
      redis.call('SADD', P .. 'graves', thread_id)
    end
  end
  for _, name in ipairs({ 'thread:', 'queued:', 'blobs:', 'doomed:', 'trimming:', 'events:', 'event-ids:' }) do
    redis.call('UNLINK', P .. name .. thread_id)
  end
  for status in pairs(SETTLED) do redis.call('ZREM', P .. 'ended:' .. status, thread_id) end
  redis.call('SREM', P .. 'touched', thread_id)
  redis.call('ZREM', P .. 'events-old', thread_id)
end

local function dig_task(run_id, task_id)
  local it = redis.call('HMGET', P .. 'task:' .. task_id, 'checkpoint_id', 'ns', 'holder', 'slot')
  redis.call('UNLINK', P .. 'task:' .. task_id, P .. 'step:' .. run_id .. SEP .. (it[1] or '') .. SEP .. (it[2] or ''))
  redis.call('ZREM', P .. 'parked', task_id)
  if it[3] and it[4] then redis.call('SREM', P .. 'held:' .. it[3] .. SEP .. it[4], task_id) end
end

-- Delete some of the records of a buried thread, about as many as most. Returns whether any are left.
local function dig(thread_id, most)
  local history, runs = P .. 'buried-history:' .. thread_id, P .. 'buried-runs:' .. thread_id
  local members = redis.call('ZRANGE', history, 0, most - 1)
  for _, member in ipairs(members) do
    redis.call('UNLINK', P .. 'checkpoint:' .. member:sub(member:find(SEP, 1, true) + 1))
  end
  redis.call('ZREMRANGEBYRANK', history, 0, most - 1)
  local left = most - #members
  while left > 0 do
    local run_id, seq = unpack(redis.call('ZRANGE', runs, 0, 0, 'WITHSCORES'))
    if not run_id then
      redis.call('SREM', P .. 'graves', thread_id)
      return false
    end
    local tasks = P .. 'tasks:' .. run_id
    local ids = redis.call('LRANGE', tasks, 0, left - 1)
    for _, task_id in ipairs(ids) do dig_task(run_id, task_id) end
    redis.call('LTRIM', tasks, #ids, -1)
    left = left - #ids
    if left > 0 then
      redis.call('UNLINK', P .. 'run:' .. run_id, P .. 'ready:' .. run_id, tasks)
      redis.call('ZREM', P .. 'runs', run_id)
      redis.call('ZREM', P .. 'open', run_id)
      redis.call('ZREMRANGEBYSCORE', P .. 'labels', seq, seq)
      redis.call('ZREM', P .. 'deadlines', run_id)
      redis.call('ZREM', runs, run_id)
      left = left - 1
    end
  end
  return true
end
