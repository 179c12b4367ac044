--- include records task_list
-- Count part of a run's tasks. KEYS[1] prefix; ARGV[1] {what task_list.lua takes}.
-- Answers {counts: list of TaskCount, after: where to go on; absent at the end}.

local groups, answer = {}, { counts = {} }
local NAMES = { 'ns', 'node', 'kind', 'status', 'created_at', 'ended_at', 'crashes', 'failures', 'recovered', 'replaced' }

answer.after = each_task(NAMES, function(_, it)
  local key = table.concat({ it[1], it[2], it[3], it[4] }, SEP)
  local count = groups[key]
  local created_at, ended_at = tonumber(it[5]), it[6] and tonumber(it[6])
  if not count then
    count = {
      ns = it[1], node = it[2], kind = it[3], status = it[4], count = 0, created_at = created_at,
      crashes = 0, failures = 0, recovered = 0, replaced = 0,
    }
    groups[key] = count
    answer.counts[#answer.counts + 1] = count
  end
  count.count = count.count + 1
  count.created_at = math.min(count.created_at, created_at)
  if ended_at then count.ended_at = math.max(count.ended_at or ended_at, ended_at) end
  count.crashes = count.crashes + (tonumber(it[7]) or 0)
  count.failures = count.failures + (tonumber(it[8]) or 0)
  if it[9] then count.recovered = count.recovered + 1 end
  if it[10] then count.replaced = count.replaced + 1 end
end)
return cmsgpack.pack(answer)
