--- include items
-- Write items in order. KEYS[1] prefix; ARGV[1] {items (a list of {ns, key, codec or false to delete, checksum, ttl or false,
-- if_absent}), now?}; ARGV[2...] the data of each, empty for a deletion. Answers the items that if_absent left there, by
-- their number in the list.

for number, new in ipairs(request.items) do
  local ns, key, codec, checksum, ttl, if_absent = unpack(new)
  local name, made = P .. 'item:' .. ns .. key, nil
  if not is_over(ns, key) then made = redis.call('HGET', name, 'made') end
  if not codec then
    remove(ns, key)
  elseif made and if_absent then
    tell(number, ns, key)
  else
    redis.call('DEL', name)
    redis.call(
      'HSET', name, 'codec', codec, 'checksum', checksum, 'data', ARGV[number + 1], 'made', made or text_of(now),
      'written', text_of(now)
    )
    redis.call('ZADD', P .. 'items', 0, ns)
    redis.call('ZADD', P .. 'items:' .. ns, text_of(-now), key)
    if ttl then
      redis.call('HSET', name, 'ttl', text_of(ttl), 'over', text_of(now + ttl))
      redis.call('ZADD', P .. 'items-over', text_of(now + ttl), ns .. key)
    else
      redis.call('ZREM', P .. 'items-over', ns .. key)
    end
  end
end
return answer()
