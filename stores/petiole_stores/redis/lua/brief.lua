--- Records of which some fields stay unread. Put after records.lua.

-- As load(), without these fields (a set); it must not be changed.
local function load_brief(kind, id, without)
  local key, names = P .. kind .. ':' .. id, {}
  for _, name in ipairs(redis.call('HKEYS', key)) do
    if not without[name] then names[#names + 1] = name end
  end
  if #names == 0 then return nil end
  local record, numbers, flags, packed = {}, NUMBERS[kind], FLAGS[kind], PACKED[kind]
  for i, value in ipairs(redis.call('HMGET', key, unpack(names))) do
    local name = names[i]
    if numbers[name] then value = tonumber(value)
    elseif flags[name] then value = true
    elseif packed[name] then value = unpacked(value) end
    record[name] = value
  end
  about[record] = { kind = kind, key = key }
  return record
end
