--- include records
-- Set next_publish and published_at of ready tasks. KEYS[1] prefix; ARGV[1] {ids, delay, now?}. Answers nothing.

for _, id in ipairs(request.ids) do
  local task = load('task', id)
  if task and task.status == 'ready' then set(task, { next_publish = now + request.delay, published_at = now + request.delay }) end
end
flush()
