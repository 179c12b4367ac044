--- include records
-- Threads whose newest run settled long ago. KEYS[1] prefix; ARGV[1] {ages (status -> seconds), limit, most (entries to
-- look at for each status), now?}. Answers a list of {seq of that run, thread}, at most limit for each status. Entries
-- of threads that have gone on since are removed.

local function newest_of(thread_id)
  local run_id = redis.call('ZREVRANGE', P .. 'runs:' .. thread_id, 0, 0)[1]
  if not run_id or redis.call('HEXISTS', P .. 'thread:' .. thread_id, 'active_run') == 1 then return {} end
  return redis.call('HMGET', P .. 'run:' .. run_id, 'status', 'ended_at', 'seq')
end

local found = {}
for status, age in pairs(request.ages) do
  local index, bound = P .. 'ended:' .. status, now - age
  local chosen, gone = 0, 0
  while chosen < request.limit and chosen + gone < request.most do
    local page = redis.call(
      'ZRANGEBYSCORE', index, '-inf', '(' .. text_of(bound), 'LIMIT', chosen, math.min(request.limit - chosen, 200)
    )
    if #page == 0 then break end
    for _, thread_id in ipairs(page) do
      local it = newest_of(thread_id)
      if it[1] == status and tonumber(it[2]) and tonumber(it[2]) < bound then
        found[#found + 1] = { tonumber(it[3]), thread_id }
        chosen = chosen + 1
      else
        redis.call('ZREM', index, thread_id)
        gone = gone + 1
      end
    end
  end
end
return cmsgpack.pack(found)
