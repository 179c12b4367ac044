--- include items
-- Remove items whose time is over. KEYS[1] prefix; ARGV[1] {limit, now?}. Answers how many: at most limit.

local over = redis.call('ZRANGEBYSCORE', P .. 'items-over', '-inf', text_of(now), 'LIMIT', 0, request.limit)
for _, name in ipairs(over) do
  local key = name:match('[^' .. SEP .. ']+$')
  remove(name:sub(1, #name - #key), key)
end
return #over
