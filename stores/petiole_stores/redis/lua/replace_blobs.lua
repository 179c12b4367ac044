--- include records
-- Write blobs of a thread in place of those with the same digests. KEYS[1] prefix; ARGV[1] {id}; ARGV[2...] digest and
-- payload of each. Answers nothing. A thread that there is not gets none.

local thread, blobs = P .. 'thread:' .. request.id, P .. 'blobs:' .. request.id
if redis.call('EXISTS', thread) == 1 then
  for i = 2, #ARGV, 2 do
    redis.call('HSET', blobs, ARGV[i], ARGV[i + 1])
    redis.call('SREM', P .. 'doomed:' .. request.id, ARGV[i])
  end
  local expires_at = redis.call('PEXPIRETIME', thread)
  if expires_at > 0 then redis.call('PEXPIREAT', blobs, expires_at) end
end
