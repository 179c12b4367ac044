--- Write down that a worker is over, in the slot of the workers. KEYS[1] the prefix "petiole:{w}:"; ARGV[1] {holder,
-- status? (nil: only ask for the time), now?}. Answers {now}.

local request, key = cmsgpack.unpack(ARGV[1]), nil
local time = redis.call('TIME')
local now = request.now or time[1] + time[2] / 1000000
key = KEYS[1] .. 'worker:' .. request.holder
if request.status and redis.call('EXISTS', key) == 1 then
  redis.call('HSET', key, 'status', request.status, 'expires_at', string.format('%.17g', now))
end
return cmsgpack.pack({ now = now })
