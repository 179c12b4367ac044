--- include items
-- The newest items of the namespaces below a prefix. KEYS[1] prefix of the keys; ARGV[1] {prefix, limit, offset, now?}. Answers
-- them in order: newest first, those of one moment by namespace and key.

local most = request.offset + request.limit
local found, met = {}, 0

-- Those of one moment are met in the order of their bytes; comparing them here would be by the server's locale.
local function precedes(a, b)
  if a[3] ~= b[3] then return a[3] > b[3] end
  return a[4] < b[4]
end

-- Keep the newest: sorting at every twice as many keeps both time and memory small.
local function cut()
  table.sort(found, precedes)
  for i = #found, most + 1, -1 do found[i] = nil end
end

each_namespace(request.prefix, '', function(ns)
  local taken = 0
  each_item(ns, function(key, written)
    taken, met = taken + 1, met + 1
    found[#found + 1] = { ns, key, written, met }
    return taken == most
  end)
  if #found > 2 * most then cut() end
end)
cut()
for i = request.offset + 1, #found do tell(i, found[i][1], found[i][2]) end
return answer()
