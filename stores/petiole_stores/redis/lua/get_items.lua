--- include items
-- Items by their names. KEYS[1] prefix; ARGV[1] {keys (a list of {ns, key}), refresh, now?}. Answers those whose time is not
-- over, by their number in the list; with refresh, those with a ttl live on for it from now.

for number, place in ipairs(request.keys) do
  local ns, key = unpack(place)
  if not is_over(ns, key) then
    local name = P .. 'item:' .. ns .. key
    local ttl = request.refresh and tonumber(redis.call('HGET', name, 'ttl') or '')
    if ttl then
      redis.call('HSET', name, 'over', text_of(now + ttl))
      redis.call('ZADD', P .. 'items-over', text_of(now + ttl), ns .. key)
    end
    tell(number, ns, key)
  end
end
return answer()
