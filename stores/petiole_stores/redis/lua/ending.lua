--- How a run is ended from outside. Put after protocol.lua.

-- End the tasks of a run that are not over, with these changes beside the status; its heads have no open task then and it
-- waits for no other run. Returns how many there were.
local function end_tasks(run, status, changes)
  local ended = 0
  for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. run.run_id, 0, -1)) do
    local found = peek(id, 'status')[1]
    if found and (not ENDED[found] or found == 'interrupted') then
      local task = load('task', id)
      set(task, { status = status, ended_at = now, next_publish = NIL, run_at = NIL })
      if changes then set(task, changes) end
      ended = ended + 1
    end
  end
  local thread, open = thread_of(run.thread_id), {}
  for name, value in pairs(thread) do
    if name:sub(1, 1) == 'r' and value == run.run_id then open['o' .. name:sub(2)] = 0 end
  end
  set(thread, open)
  later('ZREM', P .. 'queued:' .. run.thread_id, run.run_id)
  return ended
end
