--- include items
-- Remove items of the namespaces that begin with a prefix. KEYS[1] prefix of the keys; ARGV[1] {prefix, limit}. Answers how
-- many: at most limit.

local doomed = {}
each_namespace(request.prefix, '', function(ns)
  local keys = redis.call('ZRANGE', P .. 'items:' .. ns, 0, request.limit - #doomed - 1)
  for _, key in ipairs(keys) do doomed[#doomed + 1] = { ns, key } end
  return #doomed == request.limit
end)
for _, it in ipairs(doomed) do remove(it[1], it[2]) end
return #doomed
