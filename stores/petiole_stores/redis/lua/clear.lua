--- include records protocol
-- Remove a thread's checkpoints, heads and blobs. KEYS[1] prefix; ARGV[1] {id}. Answers 1, or 0 when a run is active.

local thread = thread_of(request.id)
if thread.active_run then return 0 end
local history = P .. 'history:' .. request.id
for _, member in ipairs(redis.call('ZRANGE', history, 0, -1)) do
  later('DEL', P .. 'checkpoint:' .. member:sub(member:find(SEP, 1, true) + 1))
end
later('SREM', P .. 'touched', request.id)
later('DEL', history, P .. 'blobs:' .. request.id)
spaces_of(thread)
for name in pairs(thread) do
  if name ~= 'thread_id' then set(thread, { [name] = NIL }) end
end
flush()
return 1
