--- include events
-- Write events of one run of a thread, numbered one after the other; known ones are left out. KEYS[1] prefix; ARGV[1]
-- {thread, run, events (a list of {id, kind, codec}), now?}; ARGV[2...] the data of each. Answers the number written; for a
-- thread that does not exist nothing is.

local thread_id = request.thread
local thread, events, ids = P .. 'thread:' .. thread_id, P .. 'events:' .. thread_id, P .. 'event-ids:' .. thread_id
if redis.call('EXISTS', thread) == 0 then return 0 end

local last = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
local seq = last and tonumber(last[1]:match('^%d+')) + 1 or math.floor(now * 1000)
local written = 0
for number, event in ipairs(request.events) do
  local id, kind, codec = unpack(event)
  if redis.call('SADD', ids, id) == 1 then
    redis.call(
      'XADD', events, string.format('%.0f-0', seq), 'run', request.run, 'id', id, 'kind', kind, 'codec', codec,
      'at', text_of(now), 'data', ARGV[number + 1]
    )
    seq, written = seq + 1, written + 1
  end
end
if written > 0 then
  redis.call('ZADD', P .. 'events-old', 'NX', text_of(now), thread_id)
  local left = redis.call('PTTL', thread)
  if left > 0 then
    redis.call('PEXPIRE', events, left)
    redis.call('PEXPIRE', ids, left)
  end
end
return written
