--- include records
-- Take failed tasks off the dead letters. KEYS[1] prefix; ARGV[1] {ids}. Answers how many were on them.

local dropped = 0
for _, id in ipairs(request.ids) do
  local task = load('task', id)
  if task and task.status == 'failed' and not task.replaced and not task.dropped then
    set(task, { dropped = true })
    dropped = dropped + 1
  end
end
flush()
return dropped
