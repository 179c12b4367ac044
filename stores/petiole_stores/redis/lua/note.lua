--- include records
-- Keep what an attempt leaves for the next one. KEYS[1] prefix; ARGV[1] {id, token, progress}. Answers whether the token
-- stands; nothing is kept if it does not.

local task = load('task', request.id)
local kept = stands(task, request.token)
if kept then
  set(task, { progress = request.progress })
  flush()
end
return cmsgpack.pack(kept)
