--- include records graves
-- Delete a thread, or go on with it. KEYS[1] prefix; ARGV[1] {id, bury (take the thread out of sight), most (records to
-- delete)}. Answers "active" (a run is: it was not buried), "buried" or "left" (call again), or "done".

if dig(request.id, request.most) then return 'left' end
if not request.bury then return 'done' end
if thread_of(request.id).active_run then return 'active' end
bury(request.id)
return 'buried'
