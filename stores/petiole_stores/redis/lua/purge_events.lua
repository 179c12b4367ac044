--- include events
-- Remove events older than so many seconds, oldest threads first. KEYS[1] prefix; ARGV[1] {age, limit, now?}. Answers how
-- many were removed.

local before, purged = now - request.age, 0
local old = redis.call('ZRANGEBYSCORE', P .. 'events-old', '-inf', '(' .. text_of(before), 'LIMIT', 0, request.limit)
for _, thread_id in ipairs(old) do
  if purged >= request.limit then break end
  local events, next_at = P .. 'events:' .. thread_id, nil
  -- One more than may go: what is left tells when the thread's turn comes again.
  for _, entry in ipairs(redis.call('XRANGE', events, '-', '+', 'COUNT', request.limit - purged + 1)) do
    local fields = {}
    for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
    if tonumber(fields.at) >= before or purged >= request.limit then
      next_at = fields.at
      break
    end
    redis.call('XDEL', events, entry[1])
    redis.call('SREM', P .. 'event-ids:' .. thread_id, fields.id)
    purged = purged + 1
  end
  if next_at then redis.call('ZADD', P .. 'events-old', next_at, thread_id) else forget_events(thread_id) end
end
return purged
