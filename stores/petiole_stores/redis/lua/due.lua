--- include records queues
-- Look for ready tasks to publish; changes nothing. KEYS[1] prefix; ARGV[1] {limit, queue?, priority?, published_before?,
-- now?}. Answers a list of {next_publish, created_at, task id}, at most limit for each queue.

local found = {}

local function add(name, id, score)
  found[#found + 1] = { score, tonumber(redis.call('ZSCORE', P .. 'made:' .. name, id) or 0), id }
end

-- Tasks that are not due but were published before the moment, in order of next_publish.
local function add_early(name, limit)
  local bound = '(' .. text_of(request.published_before)
  local left = math.min(limit, redis.call('ZCOUNT', P .. 'sent:' .. name, '-inf', bound))
  local offset = 0
  while left > 0 do
    local page = redis.call(
      'ZRANGEBYSCORE', P .. 'next:' .. name, '(' .. text_of(now), '+inf', 'WITHSCORES', 'LIMIT', offset, 200
    )
    if #page == 0 then return end
    for i = 1, #page, 2 do
      if left > 0 and tonumber(redis.call('ZSCORE', P .. 'sent:' .. name, page[i])) < request.published_before then
        add(name, page[i], tonumber(page[i + 1]))
        left = left - 1
      end
    end
    offset = offset + 200
  end
end

for _, name in ipairs(queues_of(request.queue, request.priority)) do
  local page = redis.call(
    'ZRANGEBYSCORE', P .. 'next:' .. name, '-inf', text_of(now), 'WITHSCORES', 'LIMIT', 0, request.limit
  )
  for i = 1, #page, 2 do add(name, page[i], tonumber(page[i + 1])) end
  if request.published_before then add_early(name, request.limit - #page / 2) end
end
return cmsgpack.pack(found)
