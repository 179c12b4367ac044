--- include records run_filter brief
-- One page of runs, newest first. KEYS[1] prefix; ARGV[1] {limit, most (entries to look at), status (list), brief, what
-- run_filter.lua takes, seq? and after? (the page begins below this seq, or at it below this id)}.
-- Answers {runs: list of Run, seq and after: where to go on; absent at the end}.

local wanted, any = set_of(request.status), #request.status == 0
local LEFT_OUT = { input = true }

local answer = { runs = {} }
answer.seq, answer.after = each_run(function(id, fields, index)
  if #answer.runs == request.limit then return true end
  local status = status_of(id, fields)
  if status == nil then
    redis.call('ZREM', index, id)
  elseif status and (any or wanted[status]) then
    local run = request.brief and load_brief('run', id, LEFT_OUT) or load('run', id)
    answer.runs[#answer.runs + 1] = shown(run)
  end
end)
return cmsgpack.pack(answer)
