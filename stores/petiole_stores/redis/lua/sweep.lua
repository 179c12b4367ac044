--- include records protocol queues
-- Free the tasks whose holder is not alive, wake timers and count what waits in this partition. KEYS[1] prefix; ARGV[1] {observed,
-- keep (seconds that a dead worker is remembered), most (timers to wake), grace, ttl?, now}.
-- Answers {woken, backlogs: list of QueueBacklog}; woken == most: there may be more.

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

return cmsgpack.pack({ woken = #due, backlogs = backlogs() })
