--- include records
-- Show runs of schema 3 in the indexes that it had not. KEYS[1] prefix; ARGV[1] {after (begin above this seq), most (runs to
-- look at)}. Answers the seq after which to go on, or null at the end.

local page = redis.call('ZRANGEBYSCORE', P .. 'runs', '(' .. text_of(request.after), '+inf', 'WITHSCORES', 'LIMIT', 0, request.most)
for i = 1, #page, 2 do
  local id, seq = page[i], page[i + 1]
  local it = redis.call('HMGET', P .. 'run:' .. id, 'status', 'thread_id', 'graph', 'tags')
  if it[1] and it[2] and it[3] then
    if not SETTLED[it[1]] then redis.call('ZADD', P .. 'open', seq, id) end
    redis.call('ZADD', P .. 'labels', seq, labels_of(id, it[2], it[3], it[4] and unpacked(it[4]) or {}))
  end
end
return cmsgpack.pack(#page == 2 * request.most and tonumber(page[#page]) or cjson.null)
