--- include records run_filter
-- How many runs match, by status. KEYS[1] prefix; ARGV[1] {most (entries to look at), what run_filter.lua takes, seq and
-- after? (begin below this seq, or at it below this id)}.
-- Answers {counts: list of {status, number}, seq and after: where to go on; absent at the end}.

local counts, answer = {}, { counts = {} }
answer.seq, answer.after = each_run(request.most, function(_, status) counts[status] = (counts[status] or 0) + 1 end)
for status, count in pairs(counts) do answer.counts[#answer.counts + 1] = { status, count } end
return cmsgpack.pack(answer)
