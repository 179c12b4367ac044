--- include records protocol
-- Claim tasks of one partition for one slot. KEYS[1] prefix; ARGV[1] {holder, slot, wants, keep, known, published, grace,
-- max_backoff, now?}: wants are triples (task id, token, whether it starts at once), keep the tokens whose claims stay,
-- known the checkpoints that the caller has: of a base that is one of them only the id is told, as known.
-- Answers {answers: list of ClaimAnswer, left: how many claims the slot has here now}.

local known = {}
for _, id in ipairs(request.known or {}) do known[id] = true end

local function claim(id, token, first)
  local answer = { task_id = id, result = 'refused', reason = 'missing' }
  local task = load('task', id)
  if not task then return answer end
  local run = load('run', task.run_id)
  if not RUNNABLE[run.status] then
    answer.reason = 'run ' .. run.status
  elseif task.status == 'claimed' and task.token == token then
    return { task_id = id, result = 'already', claim = claim_of(task, known) }
  elseif task.status ~= 'ready' then
    answer.reason = task.status
  else
    if task.token then log_attempt(task, 'lost') end
    set(task, {
      status = 'claimed', token = token, holder = request.holder, slot = request.slot,
      attempt = (task.attempt or 0) + 1, started = first, claimed_at = now, next_publish = NIL,
      awaits = NIL, woken = NIL,
    })
    if run.status == 'queued' then set(run, { status = 'running', started_at = run.started_at or now }) end
    return { task_id = id, result = 'committed', claim = claim_of(task, known) }
  end
  return answer
end

local held = P .. 'held:' .. request.holder .. SEP .. request.slot
local status = redis.call('HGET', P .. 'holder:' .. request.holder, 'status') or 'unknown'
local answers = {}
if status ~= 'alive' and status ~= 'stopping' then
  for i, want in ipairs(request.wants) do
    answers[i] = { task_id = want[1], result = 'refused', reason = 'holder ' .. status }
  end
else
  local keep = {}
  for _, token in ipairs(request.keep) do keep[token] = true end
  for _, task in ipairs(claims_of(request.holder, { request.slot })) do
    if task.status == 'claimed' and not keep[task.token] then
      log_attempt(task, 'lost')
      give_back(task)
    end
  end
  for i, want in ipairs(request.wants) do answers[i] = claim(want[1], want[2], want[3]) end
  push_published(request.published)
  flush()
end
return cmsgpack.pack({ answers = answers, left = redis.call('SCARD', held) })
