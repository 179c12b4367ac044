--- A run's tasks in the order they were made, part by part. Put after records.lua; the request carries id (the run), most
-- (tasks to look at) and after? (begin with the tasks whose n is above this).

-- The index in the list of the first task whose n is above this; tasks that are gone tell nothing.
local function place_after(key, n)
  local low, high = 0, redis.call('LLEN', key)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local at, found = middle, nil
    while at < high and not found do
      found = tonumber(redis.call('HGET', P .. 'task:' .. redis.call('LINDEX', key, at), 'n'))
      if not found then at = at + 1 end
    end
    if not found or found > n then high = middle else low = at + 1 end
  end
  return low
end

-- Calls visit(id, values of these fields) for each task until it answers true. Returns the n of the last task that was
-- visited where there may be more; nothing at the end of the list.
local function each_task(names, visit)
  local key = P .. 'tasks:' .. request.id
  local first = request.after and place_after(key, request.after) or 0
  local asked, last = { 'n', unpack(names) }, nil
  local ids = redis.call('LRANGE', key, first, first + request.most)
  for i, id in ipairs(ids) do
    local values = redis.call('HMGET', P .. 'task:' .. id, unpack(asked))
    local n = tonumber(table.remove(values, 1))
    if n then
      if (i > request.most and last) or visit(id, values, n) then return last end
      last = n
    end
  end
  return #ids > request.most and last or nil
end
