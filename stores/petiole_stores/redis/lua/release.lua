--- include records protocol ending
-- Give up a holder's claims in this partition. KEYS[1] prefix; ARGV[1] {holder, slots? (all), crashed, final,
-- max_crashes, grace, ttl?, now}. Answers a list of {id of the released task, the TaskRefs that it leaves to publish}.

-- A poison task: its process died under it too often. It fails and counts down as any other.
local function fail_lost(task)
  local crashes = task.crashes or 0
  local message = string.format(
    'its worker process died %d times while it ran (max_crashes = %d)', crashes, request.max_crashes
  )
  local node = cjson.encode(task.node):gsub('\\/', '/')
  set(task, {
    status = 'failed', ended_at = now, next_publish = NIL, token = NIL,
    error = '{"type": "WorkerLost", "message": "' .. message .. '", "node": ' .. node
      .. ', "attempt": ' .. text_of(task.attempt or 0) .. '}',
  })
  local left = count_down(load('run', task.run_id), task)
  flush()
  return left_refs(left)
end

local released = {}
for _, task in ipairs(claims_of(request.holder, request.slots)) do
  local charged = request.crashed and task.started
  if charged then set(task, { crashes = (task.crashes or 0) + 1 }) end
  log_attempt(task, charged and 'crashed' or 'released')
  if charged and task.crashes >= request.max_crashes then
    released[#released + 1] = { task.task_id, fail_lost(task) }
  else
    give_back(task)
    released[#released + 1] = { task.task_id, { ref_of(task) } }
  end
end
local copy = P .. 'holder:' .. request.holder
if request.final and redis.call('EXISTS', copy) == 1 then
  later('HSET', copy, 'status', request.crashed and 'dead' or 'stopped', 'expires_at', text_of(now))
end
flush()
return cmsgpack.pack(released)
