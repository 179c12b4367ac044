--- include records protocol
-- Remove one checkpoint and mend the head. KEYS[1] prefix; ARGV[1] {id}. Answers 1, or 0 when a run is active.

local gone = load('checkpoint', request.id)
if not gone then return 1 end
gone.thread_id, gone.ns = gone.thread_id or '', gone.ns or '' -- a damaged record goes as well as it can
local thread = thread_of(gone.thread_id)
if thread.active_run then return 0 end
local history = P .. 'history:' .. gone.thread_id
if head_of(thread, gone.ns).checkpoint_id == request.id then
  local parent, newest
  for _, member in ipairs(redis.call('ZREVRANGE', history, 0, -1)) do
    local split = member:find(SEP, 1, true)
    local ns, id = member:sub(1, split - 1), member:sub(split + 1)
    if ns == gone.ns and id ~= request.id then
      newest = newest or id
      if id == gone.parent_id then parent = id end
    end
  end
  set(thread, { ['c' .. gone.ns] = parent or newest or NIL })
end
later('ZREM', history, gone.ns .. SEP .. request.id)
later('DEL', P .. 'checkpoint:' .. request.id)
if redis.call('ZCARD', history) <= 1 then later('SREM', P .. 'touched', gone.thread_id) end
flush()
return 1
