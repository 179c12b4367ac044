--- include records
-- Show runs of schema 3 in the index of those that have not settled. KEYS[1] prefix; ARGV[1] {after (begin above this seq), most
-- (runs to look at)}. Answers the seq after which to go on, or null at the end.

local page = redis.call('ZRANGEBYSCORE', P .. 'runs', '(' .. text_of(request.after), '+inf', 'WITHSCORES', 'LIMIT', 0, request.most)
for i = 1, #page, 2 do
  local status = redis.call('HGET', P .. 'run:' .. page[i], 'status')
  if status and not SETTLED[status] then redis.call('ZADD', P .. 'open', page[i + 1], page[i]) end
end
return cmsgpack.pack(#page == 2 * request.most and tonumber(page[#page]) or cjson.null)
