--- Which runs a filter means, and the walk along them. Put after records.lua; the request may carry graph, thread_id, tag,
-- error_type, text (in small letters), since, until, open (of those that have not settled alone), and always the lists graphs
-- and namespaces (empty: any), and most: how many entries of the index are walked along.
--
-- Of a run only the fields that the filter asks about are read. A row is its id, its status and those fields, and the rows of
-- many runs are one flat list: a table for each run would cost as much as reading it.

local asked, at = {}, {}

local function ask(name)
  if not at[name] then
    asked[#asked + 1] = name
    at[name] = #asked
  end
end

ask('status')
if request.graph or request.text or #request.graphs > 0 then ask('graph') end
if request.thread_id or request.text or #request.namespaces > 0 then ask('thread_id') end
if request.tag or request.text then ask('tags') end
if request.since or request['until'] then ask('created_at') end
if request.error_type then ask('error') end

local WIDTH = #asked + 1

local function set_of(list)
  local found = {}
  for _, item in ipairs(list) do found[item] = true end
  return found
end

local graphs, namespaces = set_of(request.graphs), set_of(request.namespaces)
local any_graph, any_namespace = #request.graphs == 0, #request.namespaces == 0

local function has_text(value) return value and value:lower():find(request.text, 1, true) end

-- Packed tags without one are a single byte.
local function tags_of(packed)
  return packed and #packed > 1 and unpacked(packed) or {}
end

local function any_has_text(tags)
  for _, tag in ipairs(tags) do
    if has_text(tag) then return true end
  end
  return false
end

local function is_error(name, error)
  if not error then return false end
  -- An error has a long traceback: most are told by looking for the bare name.
  if name:find('^[%w_.]+$') and not error:find(name, 1, true) then return false end
  local sound, found = pcall(cjson.decode, error)
  local type_of = sound and type(found) == 'table' and found.type
  return type(type_of) == 'string' and (type_of == name or type_of:match('[^.]*$') == name)
end

-- The status of the run of the row at first, if it matches; false: it does not; nil: it is gone.
local function status_of(rows, first)
  local status = rows[first + 1]
  if not status then return nil end
  if at.graph then
    local graph = rows[first + at.graph]
    if request.graph and graph ~= request.graph then return false end
    if not any_graph and not graphs[graph] then return false end
  end
  if at.thread_id then
    local thread_id = rows[first + at.thread_id]
    if request.thread_id and thread_id ~= request.thread_id then return false end
    if not any_namespace and not namespaces[thread_id:match('^[^:]*')] then return false end
  end
  if at.created_at then
    local created_at = tonumber(rows[first + at.created_at])
    if request.since and created_at < request.since then return false end
    if request['until'] and created_at >= request['until'] then return false end
  end
  if request.error_type and not is_error(request.error_type, rows[first + at.error]) then return false end
  local tags = (request.tag or request.text) and tags_of(rows[first + at.tags])
  if request.tag and not set_of(tags)[request.tag] then return false end
  if
    request.text and not has_text(rows[first + at.thread_id]) and not has_text(rows[first])
    and not has_text(rows[first + at.graph]) and not any_has_text(tags)
  then
    return false
  end
  return status
end

-- Which rows may match, by the places of their ids: all, or those that have the bytes of the tag or the text somewhere. For these
-- all rows are looked through as one text, unless something is missing.
local function candidates(rows)
  local found, needle, whole, bytes = {}, request.tag or request.text, false, nil
  if needle then whole, bytes = pcall(table.concat, rows, '\0') end
  if not whole then
    for first = 1, #rows, WIDTH do found[#found + 1] = first end
    return found
  end
  if not request.tag then bytes = bytes:lower() end
  local first, over = 1 - WIDTH, 0 -- the row before, and the byte after it
  local place = bytes:find(needle, 1, true)
  while place do
    while over < place do
      first = first + WIDTH
      for i = first, first + WIDTH - 1 do over = over + #rows[i] + 1 end
    end
    found[#found + 1] = first
    place = bytes:find(needle, over + 1, true)
  end
  return found
end

-- Whether the server lets a script read many records by SORT: a cluster does not, nor for a user who may not read every key.
local sorts = true

-- The rows of so many entries of the index from the offset on, newest first. One SORT reads them in a third of the time of a
-- call for each.
local function rows_of(index, offset, count)
  if sorts then
    local command = { 'SORT', index, 'BY', 'nosort', 'DESC', 'LIMIT', offset, count, 'GET', '#' }
    for _, name in ipairs(asked) do
      command[#command + 1] = 'GET'
      command[#command + 1] = P .. 'run:*->' .. name
    end
    local rows = redis.pcall(unpack(command))
    if not rows.err then return rows end
    sorts = false
  end
  local rows = {}
  for _, id in ipairs(redis.call('ZREVRANGE', index, offset, offset + count - 1)) do
    rows[#rows + 1] = id
    for _, value in ipairs(redis.call('HMGET', P .. 'run:' .. id, unpack(asked))) do rows[#rows + 1] = value end
  end
  return rows
end

-- How many entries come before where the request begins: below seq, or at it below the id after.
local function offset_of(index)
  if not request.seq then return 0 end
  local seq = text_of(request.seq)
  local offset = redis.call('ZCOUNT', index, '(' .. seq, '+inf')
  for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', index, seq, seq)) do
    if id >= request.after then offset = offset + 1 end
  end
  return offset
end

-- Part of the index of runs, newest first: calls visit(id, status) for each that matches of at most request.most entries until
-- it answers true; they are read few at first, for a page may soon be full. Entries whose runs have expired go. Returns
-- where to go on: seq and id of the last entry that was passed, or nothing at the end of the index.
local function each_run(few, visit)
  local index = P .. (request.thread_id and 'runs:' .. request.thread_id or request.open and 'open' or 'runs')
  local offset, passed, last, gone, full = offset_of(index), 0, nil, {}, false
  while passed < request.most and not full do
    local count = math.min(few, request.most - passed)
    local rows = rows_of(index, offset + passed, count)
    local found = #rows / WIDTH
    local visited = found
    for _, first in ipairs(candidates(rows)) do
      local id, status = rows[first], status_of(rows, first)
      if status and visit(id, status) then
        full, visited = true, (first - 1) / WIDTH
        break
      end
      if status == nil then gone[#gone + 1] = id end
    end
    passed, last = passed + visited, rows[(visited - 1) * WIDTH + 1] or last
    if found < count then break end
    few = 2 * few
  end
  local seq
  if last and redis.call('ZCARD', index) > offset + passed then
    seq = tonumber(redis.call('ZSCORE', index, last))
  end
  for _, id in ipairs(gone) do redis.call('ZREM', index, id) end
  if seq then return seq, last end
end
