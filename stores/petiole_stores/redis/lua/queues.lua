--- Ready tasks of runnable runs by queue and priority. Put after records.lua.

-- The names of the queues that may have ready tasks, narrowed to a queue or priority.
local function queues_of(queue, priority)
  local found = {}
  for _, name in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
    local bar = name:find('|', 1, true)
    if (not priority or name:sub(1, bar - 1) == priority) and (not queue or name:sub(bar + 1) == queue) then
      found[#found + 1] = name
    end
  end
  return found
end

local function backlogs()
  local found = {}
  for _, name in ipairs(queues_of()) do
    local ready = redis.call('ZCARD', P .. 'next:' .. name)
    if ready == 0 then
      redis.call('SREM', P .. 'queues', name)
    else
      local bar = name:find('|', 1, true)
      found[#found + 1] = {
        queue = name:sub(bar + 1),
        priority = name:sub(1, bar - 1),
        ready = ready,
        due = redis.call('ZCOUNT', P .. 'next:' .. name, '-inf', text_of(now)),
        oldest = tonumber(redis.call('ZRANGE', P .. 'made:' .. name, 0, 0, 'WITHSCORES')[2]),
      }
    end
  end
  return found
end
