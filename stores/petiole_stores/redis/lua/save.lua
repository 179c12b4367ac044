--- include records protocol
-- Insert or replace one checkpoint by hand. KEYS[1] prefix; ARGV[1] {checkpoint (a NewCheckpoint), thread_id, run_id?,
-- blobs (their count), now}; ARGV[2...] digest and payload of the blobs. Answers nothing.

local new, thread = request.checkpoint, thread_of(request.thread_id)
local known = load('checkpoint', new.checkpoint_id)
local expires_in = redis.call('PTTL', P .. 'thread:' .. request.thread_id)
put_blobs(request.thread_id, request.blobs)
if known then
  for _, index in ipairs({ 'history:', 'buried-history:' }) do
    later('ZREM', P .. index .. known.thread_id, known.ns .. SEP .. known.checkpoint_id)
  end
end
local seq = known and known.seq
local made = insert_checkpoint(new, request.thread_id, request.run_id)
if known then
  set(made, { seq = seq })
  later('ZADD', P .. 'history:' .. request.thread_id, text_of(seq), new.ns .. SEP .. new.checkpoint_id)
elseif not thread.active_run then
  set(thread, { thread_id = request.thread_id, ['c' .. new.ns] = new.checkpoint_id })
end
flush()
if expires_in > 0 then expire_thread(request.thread_id, redis.call('PEXPIRETIME', P .. 'thread:' .. request.thread_id)) end
