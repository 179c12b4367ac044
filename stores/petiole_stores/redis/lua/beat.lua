--- include records protocol
-- Renew this partition's copy of a worker. KEYS[1] prefix; ARGV[1] {holder, status, lease, expires_at, published, grace,
-- max_backoff, now}. Answers {revived, claims: ids of the tasks that it holds here}.

local copy = P .. 'holder:' .. request.holder
local revived = redis.call('HGET', copy, 'status') == 'dead'
later('HSET', copy, 'status', request.status, 'lease', text_of(request.lease), 'expires_at', text_of(request.expires_at))
later('SADD', P .. 'holders', request.holder)
local claims = {}
for _, task in ipairs(claims_of(request.holder)) do
  if revived and task.status == 'ready' then set(task, { status = 'claimed', next_publish = NIL }) end
  if task.status == 'claimed' then claims[#claims + 1] = task.task_id end
end
push_published(request.published)
flush()
return cmsgpack.pack({ revived = revived, claims = claims })
