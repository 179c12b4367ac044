--- include records
-- One page of runs, newest first. KEYS[1] prefix; ARGV[1] {limit, most (entries to look at), graph?, status (list),
-- thread_id?, tag?, since?, until?, seq? and after? (the page begins below this seq, or at it below this id)}.
-- Answers {runs: list of Run, seq and after: where to go on; absent at the end}.

local wanted, any = {}, #request.status == 0
for _, status in ipairs(request.status) do wanted[status] = true end

local function matches(run)
  if request.graph and run.graph ~= request.graph then return false end
  if not any and not wanted[run.status] then return false end
  if request.thread_id and run.thread_id ~= request.thread_id then return false end
  if request.since and run.created_at < request.since then return false end
  if request['until'] and run.created_at >= request['until'] then return false end
  if not request.tag then return true end
  for _, tag in ipairs(run.tags) do
    if tag == request.tag then return true end
  end
  return false
end

local index = request.thread_id and P .. 'runs:' .. request.thread_id or P .. 'runs'
local page = redis.call(
  'ZREVRANGEBYSCORE', index, request.seq and text_of(request.seq) or '+inf', '-inf', 'WITHSCORES',
  'LIMIT', 0, request.most + 1
)
local answer = { runs = {} }
for i = 1, #page, 2 do
  local id, seq = page[i], tonumber(page[i + 1])
  if not (request.seq == seq and request.after and id >= request.after) then
    if #answer.runs == request.limit or i > 2 * request.most then break end
    answer.seq, answer.after = seq, id
    local run = load('run', id)
    if not run then
      redis.call('ZREM', index, id)
    elseif matches(run) then
      answer.runs[#answer.runs + 1] = shown(run)
    end
  end
  if i >= #page - 1 and #page < 2 * request.most + 2 then answer.seq, answer.after = nil, nil end
end
return cmsgpack.pack(answer)
