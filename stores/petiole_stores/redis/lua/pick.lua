--- include records protocol
-- Push on the next_publish of tasks that due.lua found, unless another sweep or a worker was faster. KEYS[1] prefix;
-- ARGV[1] {ids, published_before?, grace, max_backoff, now}. Answers a list of {task id, TaskRef}.

local picked = {}
for _, id in ipairs(request.ids) do
  local task = load('task', id)
  if task and task.status == 'ready' and RUNNABLE[load('run', task.run_id).status] then
    local early = request.published_before and (task.published_at or 0) < request.published_before
    if early or task.next_publish <= now then
      push_publish(task)
      picked[#picked + 1] = { id, ref_of(task) }
    end
  end
end
flush()
return cmsgpack.pack(picked)
