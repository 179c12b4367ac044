--- Which runs a filter means, and the walk along them. Put after records.lua; the request may carry graph, thread_id, tag,
-- error_type, text (in small letters), since, until, open (of those that have not settled alone), and always the lists graphs
-- and namespaces (empty: any), and most: how many entries of the index are walked along.
--
-- Where names are looked for (a text, a tag, graphs, namespaces), the labels tell which runs may match, and no other is read.
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

-- What the labels of a run that matches have: of each list one. A text is looked for in small letters.
local needles = {}
if request.tag then needles[#needles + 1] = { SEP .. request.tag .. SEP } end
if request.text then needles[#needles + 1] = { request.text, small = true } end
if request.graph then needles[#needles + 1] = { SEP .. request.graph .. SEP } end
if not any_graph then
  local list = {}
  for _, graph in ipairs(request.graphs) do list[#list + 1] = SEP .. graph .. SEP end
  needles[#needles + 1] = list
end
if not any_namespace then
  local list = {}
  for _, namespace in ipairs(request.namespaces) do
    list[#list + 1] = SEP .. namespace .. ':'
    list[#list + 1] = SEP .. namespace .. SEP
  end
  needles[#needles + 1] = list
end

-- The index to walk along: that of the thread, else that of the labels, unless few runs have not settled.
local index, labelled
if request.thread_id then
  index = P .. 'runs:' .. request.thread_id
elseif #needles == 0 then
  index = P .. (request.open and 'open' or 'runs')
else
  local few = request.open and 4 * redis.call('ZCARD', P .. 'open') < redis.call('ZCARD', P .. 'runs')
  labelled = not few
  index = P .. (few and 'open' or 'labels')
end

-- Note which labels have the needle, of those that have one of each list before; bytes: all as one text, a byte between two.
local function mark(marked, labels, bytes, needle, before)
  local i, over = 0, 0 -- a place, and the byte after its labels
  local byte = bytes:find(needle, 1, true)
  while byte do
    while over < byte do
      i = i + 1
      over = over + #labels[i] + 1
    end
    if marked[i] == before then marked[i] = before + 1 end
    byte = bytes:find(needle, over + 1, true)
  end
end

-- The places of the labels that have the needles.
local function candidates(labels)
  local bytes, marked, found = table.concat(labels, '\0'), {}, {}
  for i = 1, #labels do marked[i] = 0 end
  for n, list in ipairs(needles) do
    local text = list.small and bytes:lower() or bytes
    for _, needle in ipairs(list) do mark(marked, labels, text, needle, n - 1) end
  end
  for i = 1, #labels do
    if marked[i] == #needles then found[#found + 1] = i end
  end
  return found
end

local function id_of(entry) return entry:match('^[^\31]*') end

local function add_row(rows, id)
  rows[#rows + 1] = id
  for _, value in ipairs(redis.call('HMGET', P .. 'run:' .. id, unpack(asked))) do rows[#rows + 1] = value end
end

-- The rows of those of so many entries from the offset on that may match, newest first; how many entries there are, and the
-- places of the rows among them.
local function labelled_rows(offset, count)
  local labels = redis.call('ZREVRANGE', index, offset, offset + count - 1)
  local rows, places = {}, candidates(labels)
  for _, place in ipairs(places) do add_row(rows, id_of(labels[place])) end
  return rows, #labels, places
end

-- Whether the server lets a script read many records by SORT: a cluster does not, nor for a user who may not read every key.
local sorts = true

-- The same of an index of ids, all of which may match. One SORT reads them in a third of the time of a call for each.
local function rows_of(offset, count)
  if labelled then return labelled_rows(offset, count) end
  if sorts then
    local command = { 'SORT', index, 'BY', 'nosort', 'DESC', 'LIMIT', offset, count, 'GET', '#' }
    for _, name in ipairs(asked) do
      command[#command + 1] = 'GET'
      command[#command + 1] = P .. 'run:*->' .. name
    end
    local rows = redis.pcall(unpack(command))
    if not rows.err then return rows, #rows / WIDTH end
    sorts = false
  end
  local rows = {}
  for _, id in ipairs(redis.call('ZREVRANGE', index, offset, offset + count - 1)) do add_row(rows, id) end
  return rows, #rows / WIDTH
end

-- How many entries come before where the request begins: below seq, or at it below the id after.
local function offset_of()
  if not request.seq then return 0 end
  local seq = text_of(request.seq)
  local offset = redis.call('ZCOUNT', index, '(' .. seq, '+inf')
  for _, entry in ipairs(redis.call('ZREVRANGEBYSCORE', index, seq, seq)) do
    if id_of(entry) >= request.after then offset = offset + 1 end
  end
  return offset
end

-- Take a run that has expired out of the indexes.
local function forget(id)
  local seq = redis.call('ZSCORE', P .. 'runs', id)
  if seq then redis.call('ZREMRANGEBYSCORE', P .. 'labels', seq, seq) end
  redis.call('ZREM', P .. 'runs', id)
  redis.call('ZREM', P .. 'open', id)
  if request.thread_id then redis.call('ZREM', P .. 'runs:' .. request.thread_id, id) end
end

-- Part of the index of runs, newest first: calls visit(id, status) for each that matches of at most request.most entries until
-- it answers true; they are read few at first, for a page may soon be full. Entries whose runs have expired go. Returns
-- where to go on: seq and id of the last entry that was passed, or nothing at the end of the index.
local function each_run(few, visit)
  local passed, gone, full, offset = 0, {}, false, offset_of()
  while passed < request.most and not full do
    local count = math.min(few, request.most - passed)
    local rows, found, places = rows_of(offset + passed, count)
    local visited = found
    for row = 1, #rows / WIDTH do
      local first = (row - 1) * WIDTH + 1
      local id, status = rows[first], status_of(rows, first)
      if status and visit(id, status) then
        full, visited = true, (places and places[row] or row) - 1
        break
      end
      if status == nil then gone[#gone + 1] = id end
    end
    passed = passed + visited
    if found < count then break end
    few = 2 * few
  end
  local last = {}
  if passed > 0 and redis.call('ZCARD', index) > offset + passed then
    last = redis.call('ZREVRANGE', index, offset + passed - 1, offset + passed - 1, 'WITHSCORES')
  end
  for _, id in ipairs(gone) do forget(id) end
  if last[1] then return tonumber(last[2]), id_of(last[1]) end
end
