--- Which of these records are in this partition? KEYS[1] prefix; ARGV[1] {kind, ids}. Answers a list of ids.

local request, found = cmsgpack.unpack(ARGV[1]), {}
for _, id in ipairs(request.ids) do
  if redis.call('EXISTS', KEYS[1] .. request.kind .. ':' .. id) == 1 then found[#found + 1] = id end
end
return cmsgpack.pack(found)
