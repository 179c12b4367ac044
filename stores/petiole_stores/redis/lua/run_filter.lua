--- Which runs a filter means. Put after records.lua; the request may carry graph, thread_id, tag, error_type, text (in small
-- letters), since, until, and always the lists graphs and namespaces (empty: any).

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

local function set_of(list)
  local found = {}
  for _, item in ipairs(list) do found[item] = true end
  return found
end

local graphs, namespaces = set_of(request.graphs), set_of(request.namespaces)

-- Packed tags without one are a single byte.
local function tags_of(packed)
  return packed and #packed > 1 and unpacked(packed) or {}
end

local function has_text(text, id, it)
  local function has(value) return value and value:lower():find(text, 1, true) end
  if has(it[at.thread_id]) or has(id) or has(it[at.graph]) then return true end
  for _, tag in ipairs(tags_of(it[at.tags])) do
    if has(tag) then return true end
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

-- The status of a run that matches, of which these fields are known; false: it does not; nil: it is gone.
local function status_of(id, it)
  if not it[1] then return nil end
  local graph, thread_id = it[at.graph], it[at.thread_id]
  if request.graph and graph ~= request.graph then return false end
  if #request.graphs > 0 and not graphs[graph] then return false end
  if request.thread_id and thread_id ~= request.thread_id then return false end
  if #request.namespaces > 0 and not namespaces[thread_id:match('^[^:]*')] then return false end
  local created_at = at.created_at and tonumber(it[at.created_at])
  if request.since and created_at < request.since then return false end
  if request['until'] and created_at >= request['until'] then return false end
  if request.tag and not set_of(tags_of(it[at.tags]))[request.tag] then return false end
  if request.error_type and not is_error(request.error_type, it[at.error]) then return false end
  if request.text and not has_text(request.text, id, it) then return false end
  return it[1]
end

-- Of how many runs the fields are read at once: a page may be full before more are needed.
local AT_ONCE = 100

-- The asked fields of these runs, the first of which is in the index at the offset, newest first. One SORT reads them in a third
-- of the time of a call for each; a cluster, and a user who may not read every key, are refused it.
local function fields_of(ids, index, offset)
  local command = { 'SORT', index, 'BY', 'nosort', 'DESC', 'LIMIT', offset, #ids }
  for _, name in ipairs(asked) do
    command[#command + 1] = 'GET'
    command[#command + 1] = P .. 'run:*->' .. name
  end
  local found, flat = {}, redis.pcall(unpack(command))
  for i, id in ipairs(ids) do
    if flat.err then
      found[i] = redis.call('HMGET', P .. 'run:' .. id, unpack(asked))
    else
      found[i] = { unpack(flat, (i - 1) * #asked + 1, i * #asked) }
    end
  end
  return found
end

-- Part of the index of runs, newest first: calls visit(id, fields, index) for each of at most request.most entries from where
-- the request begins (below seq, or at it below the id after) until it answers true. Returns where to go on: seq and id of the
-- last entry that was visited, or nothing at the end of the index.
local function each_run(visit)
  local index = request.thread_id and P .. 'runs:' .. request.thread_id or P .. 'runs'
  local offset = request.seq and redis.call('ZCOUNT', index, '(' .. text_of(request.seq), '+inf') or 0
  local page = redis.call('ZREVRANGE', index, offset, offset + request.most, 'WITHSCORES')
  local ids = {}
  for i = 1, #page, 2 do ids[#ids + 1] = page[i] end
  local fields, last_seq, last_id = {}, nil, nil
  for i, id in ipairs(ids) do
    if i % AT_ONCE == 1 then
      local some = { unpack(ids, i, math.min(i + AT_ONCE - 1, #ids)) }
      for j, values in ipairs(fields_of(some, index, offset + i - 1)) do fields[i + j - 1] = values end
    end
    local seq = tonumber(page[2 * i])
    if not (request.seq == seq and request.after and id >= request.after) then
      if (i > request.most and last_seq) or visit(id, fields[i], index) then return last_seq, last_id end
      last_seq, last_id = seq, id
    end
  end
  if #ids > request.most then return last_seq, last_id end
  return nil
end
