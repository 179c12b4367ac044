--- include records protocol
-- Make ready what waits for a signal in a thread's active run, and mark what is claimed just now. KEYS[1] prefix; ARGV[1]
-- {thread, name, grace, now?}. Answers a list of TaskRef.

local function wake(run)
  local woken = {}
  for _, id in ipairs(current_ids(run)) do
    local it = peek(id, 'status', 'awaits', 'token')
    if it[1] == 'parked' and it[2] == request.name then
      local task = load('task', id)
      make_ready(task)
      set(task, { next_publish = now, awaits = NIL })
      woken[#woken + 1] = task
    elseif it[1] == 'claimed' or (it[1] == 'ready' and it[3]) then
      set(load('task', id), { woken = true })
    end
  end
  flush()
  table.sort(woken, function(a, b) return a.n < b.n end)
  return woken
end

local active, refs = thread_of(request.thread).active_run, {}
for i, task in ipairs(active and wake(load('run', active)) or {}) do refs[i] = ref_of(task) end
return cmsgpack.pack(refs)
