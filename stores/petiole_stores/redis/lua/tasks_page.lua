--- include records task_list brief
-- One page of a run's tasks. KEYS[1] prefix; ARGV[1] {what task_list.lua takes, limit, status (list), ns?, node?, kind?,
-- checkpoint_id?, brief}. Answers {tasks: list of {n, Task}, after: where to go on; absent at the end}.

local LEFT_OUT = { arg = true, output = true, progress = true }
local wanted = {}
for _, status in ipairs(request.status) do wanted[status] = true end

local answer = { tasks = {} }
answer.after = each_task({ 'status', 'ns', 'node', 'kind', 'checkpoint_id' }, function(id, it, n)
  if #answer.tasks == request.limit then return true end
  if #request.status > 0 and not wanted[it[1]] then return false end
  if request.ns and it[2] ~= request.ns then return false end
  if request.node and it[3] ~= request.node then return false end
  if request.kind and it[4] ~= request.kind then return false end
  if request.checkpoint_id and it[5] ~= request.checkpoint_id then return false end
  local task = request.brief and load_brief('task', id, LEFT_OUT) or load('task', id)
  answer.tasks[#answer.tasks + 1] = { n, shown(task) }
  return false
end)
return cmsgpack.pack(answer)
