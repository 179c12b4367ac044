--- include records
-- Mark a damaged checkpoint. KEYS[1] prefix; ARGV[1] {id, reason}. Answers 1, or 0 when there is none.

local checkpoint = load('checkpoint', request.id)
if not checkpoint then return 0 end
set(checkpoint, { quarantined = request.reason })
flush()
return 1
