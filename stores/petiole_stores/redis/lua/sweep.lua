--- include records protocol ending graves queues
-- Free the tasks whose holder is not alive, wake timers, fail the runs whose deadline is over, go on with deleting threads
-- and count what waits in this partition. KEYS[1] prefix; ARGV[1] {observed, keep (seconds that a dead worker is
-- remembered), most (timers to wake, tasks to end, records to delete), late (the document of a deadline's error), grace,
-- ttl?, now}. Answers {woken, expired: ids of runs, more: whether timers or deadlines are left, backlogs: list of
-- QueueBacklog}.

local living = {}

for _, holder in ipairs(redis.call('SMEMBERS', P .. 'holders')) do
  local copy = P .. 'holder:' .. holder
  local it = redis.call('HMGET', copy, 'status', 'lease', 'expires_at')
  local status, lease, expires_at = it[1], tonumber(it[2] or 0), tonumber(it[3] or 0)
  if status == 'alive' or status == 'stopping' then
    if expires_at < now and request.observed >= lease then
      later('HSET', copy, 'status', 'dead')
    else
      living[holder] = true
    end
  elseif expires_at < now - request.keep then
    later('DEL', copy)
    later('SREM', P .. 'holders', holder)
  end
end

for _, holder in ipairs(redis.call('SMEMBERS', P .. 'claimants')) do
  if not living[holder] then
    for _, task in ipairs(claims_of(holder)) do
      if task.status == 'claimed' then set(task, { status = 'ready', next_publish = now, recovered = true }) end
    end
  end
end

local due = redis.call('ZRANGEBYSCORE', P .. 'parked', '-inf', text_of(now), 'LIMIT', 0, request.most)
for _, id in ipairs(due) do
  local task = load('task', id)
  if task then
    make_ready(task)
    set(task, { next_publish = now })
    local run = load('run', task.run_id)
    if run.status == 'waiting' then set(run, { status = 'queued' }) end
  else
    later('ZREM', P .. 'parked', id)
  end
end
flush()

-- In the order of their ids: of two of one thread the first may start the second.
local late = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', text_of(now), 'LIMIT', 0, request.most)
table.sort(late, earlier)
local expired, ended, more = {}, 0, #due == request.most or #late == request.most
for _, run_id in ipairs(late) do
  if ended >= request.most then
    more = true
    break
  end
  local run = load('run', run_id)
  if run and not SETTLED[run.status] then
    ended = ended + 1 + end_tasks(run, 'failed', { token = NIL, error = request.late })
    end_run(run, 'failed', request.late)
    expired[#expired + 1] = run_id
  else
    later('ZREM', P .. 'deadlines', run_id)
  end
  flush()
end

for _, thread_id in ipairs(redis.call('SRANDMEMBER', P .. 'graves', 1)) do dig(thread_id, request.most) end

return cmsgpack.pack({ woken = #due, expired = expired, more = more, backlogs = backlogs() })
