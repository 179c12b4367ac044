--- Register a worker or renew its lease, in the slot of the workers. KEYS[1] the prefix "petiole:{w}:"; ARGV[1] {holder,
-- status, lease, now?}; ARGV[2] the Worker, msgpack, opaque here. Answers {now, expires_at, revived}.
--
--   worker:<id>  hash  record (the Worker), status, lease, started_at, beat_at, expires_at;   workers: the set of ids

local request, P = cmsgpack.unpack(ARGV[1]), KEYS[1]
local time = redis.call('TIME')
local now = request.now or time[1] + time[2] / 1000000
local function text(value) return string.format('%.17g', value) end

local key = P .. 'worker:' .. request.holder
local known = redis.call('HMGET', key, 'status', 'started_at')
local expires_at = now + request.lease
redis.call('HSET', key, 'record', ARGV[2], 'status', request.status, 'lease', text(request.lease), 'beat_at', text(now),
  'expires_at', text(expires_at), 'started_at', known[2] or text(now))
redis.call('SADD', P .. 'workers', request.holder)
return cmsgpack.pack({ now = now, expires_at = expires_at, revived = known[1] == 'dead' })
