--- Declare workers dead, in the slot of the workers. KEYS[1] the prefix "petiole:{w}:"; ARGV[1] {observed, keep (seconds
-- that a dead worker is remembered), now?}. Answers {now, died: ids}. Their tasks are freed by sweep.lua, partition by
-- partition, by copies of the same leases and the same now.

local request, P = cmsgpack.unpack(ARGV[1]), KEYS[1]
local time = redis.call('TIME')
local now = request.now or time[1] + time[2] / 1000000

local died = {}
for _, id in ipairs(redis.call('SMEMBERS', P .. 'workers')) do
  local key = P .. 'worker:' .. id
  local it = redis.call('HMGET', key, 'status', 'lease', 'expires_at')
  local status, lease, expires_at = it[1], tonumber(it[2] or 0), tonumber(it[3] or 0)
  if status == 'alive' or status == 'stopping' then
    if expires_at < now and request.observed >= lease then
      redis.call('HSET', key, 'status', 'dead')
      died[#died + 1] = id
    end
  elseif expires_at < now - request.keep then
    redis.call('DEL', key)
    redis.call('SREM', P .. 'workers', id)
  end
end
return cmsgpack.pack({ now = now, died = died })
