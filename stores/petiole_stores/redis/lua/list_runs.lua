--- include records run_filter brief
-- One page of runs, newest first. KEYS[1] prefix; ARGV[1] {limit, most (entries to look at), status (list), brief, what
-- run_filter.lua takes, seq and after? (the page begins below this seq, or at it below this id)}.
-- Answers {runs: list of Run, seq and after: where to go on; absent at the end; counts: list of {status, number} of all that
-- match but for the status, from where the page begins to where to go on}.

local wanted, any = set_of(request.status), #request.status == 0
local LEFT_OUT = { input = true }

local counts, answer = {}, { runs = {}, counts = {} }
answer.seq, answer.after = each_run(request.limit + 1, function(id, status)
  if #answer.runs == request.limit then return true end
  counts[status] = (counts[status] or 0) + 1
  if any or wanted[status] then
    local run = request.brief and load_brief('run', id, LEFT_OUT) or load('run', id)
    answer.runs[#answer.runs + 1] = shown(run)
  end
end)
for status, count in pairs(counts) do answer.counts[#answer.counts + 1] = { status, count } end
return cmsgpack.pack(answer)
