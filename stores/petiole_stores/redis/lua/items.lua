--- Items: what is of no thread. Put before every script of theirs; it stands alone, without records.
--
-- KEYS[1]  the partition's prefix with its hash tag; ARGV[1] the request, msgpack; "now" (seconds) replaces the server's
-- time. A namespace's partition is that of its first three labels. <ns> is a joined namespace: each label and a ␟ (byte 31).
--
-- Keys of a partition
--   item:<ns><key>  hash  an item: codec, data, checksum, made, written, and with a time of its own ttl, over
--   items           zset  namespaces that have items, all with score 0: in the order of their bytes
--   items:<ns>      zset  the namespace's keys by minus the time at which they were written: newest first, then by bytes
--   items-over      zset  <ns><key> by the time at which their time is over
-- An item whose time is over stays in all of them until it is purged; readers pass over it.

local P, SEP, PAGE = KEYS[1], '\31', 200
local request = cmsgpack.unpack(ARGV[1])
local now = request.now
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local function text_of(number) return string.format('%.17g', number) end

local function is_over(ns, key)
  local over = redis.call('ZSCORE', P .. 'items-over', ns .. key)
  return over and tonumber(over) <= now
end

local function remove(ns, key)
  redis.call('DEL', P .. 'item:' .. ns .. key)
  redis.call('ZREM', P .. 'items-over', ns .. key)
  redis.call('ZREM', P .. 'items:' .. ns, key)
  if redis.call('EXISTS', P .. 'items:' .. ns) == 0 then redis.call('ZREM', P .. 'items', ns) end
end

-- An answer: a list of items as {number, ns, key, codec, checksum, made, written, ttl or null, over or null}, packed, and
-- after it the data of each: Lua's msgpack has no bytes.
local list, bodies = {}, {}

local function tell(number, ns, key)
  local it = redis.call(
    'HMGET', P .. 'item:' .. ns .. key, 'codec', 'checksum', 'made', 'written', 'ttl', 'over', 'data'
  )
  if not it[7] then return end
  local function number_of(i) return tonumber(it[i] or '') or cjson.null end
  list[#list + 1] = {
    number, ns, key, it[1] or '', it[2] or '', number_of(3), number_of(4), number_of(5), number_of(6),
  }
  bodies[#bodies + 1] = it[7]
end

local function answer()
  table.insert(bodies, 1, cmsgpack.pack(list))
  return bodies
end

-- Call act with each namespace that begins with the prefix, in order and from after one of them on (empty: all), until it
-- returns true.
local function each_namespace(prefix, after, act)
  local from = after ~= '' and '(' .. after or '[' .. prefix
  local to = prefix == '' and '+' or '(' .. prefix:sub(1, -2) .. ' '
  repeat
    local page = redis.call('ZRANGEBYLEX', P .. 'items', from, to, 'LIMIT', 0, PAGE)
    for _, ns in ipairs(page) do
      if act(ns) then return end
    end
    from = '(' .. (page[#page] or '')
  until #page < PAGE
end

-- Call act with key and time of each item of a namespace whose time is not over, newest first, until it returns true.
local function each_item(ns, act)
  local start = 0
  repeat
    local page = redis.call('ZRANGE', P .. 'items:' .. ns, start, start + PAGE - 1, 'WITHSCORES')
    for i = 1, #page, 2 do
      if not is_over(ns, page[i]) and act(page[i], -tonumber(page[i + 1])) then return end
    end
    start = start + PAGE
  until #page < 2 * PAGE
end
