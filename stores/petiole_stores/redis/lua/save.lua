--- include records protocol
-- Insert or replace one checkpoint by hand. KEYS[1] prefix; ARGV[1] {checkpoint (a NewCheckpoint), thread_id, run_id?,
-- blobs (their count), now}; ARGV[2...] digest and payload of the blobs. Answers nothing.

local new, thread = request.checkpoint, thread_of(request.thread_id)
local known = load('checkpoint', new.checkpoint_id)
local expires_in = redis.call('PTTL', P .. 'thread:' .. request.thread_id)
put_blobs(request.thread_id, request.blobs)
local history, member = P .. 'history:' .. request.thread_id, new.ns .. SEP .. new.checkpoint_id
-- The index knows the place even if the record is damaged.
local seq = redis.call('ZSCORE', history, member) or known and known.seq
if known then
  for _, index in ipairs({ 'history:', 'buried-history:' }) do
    later('ZREM', P .. index .. (known.thread_id or request.thread_id), (known.ns or new.ns) .. SEP .. new.checkpoint_id)
  end
end
local made = insert_checkpoint(new, request.thread_id, request.run_id)
if known and seq then
  set(made, { seq = tonumber(seq) })
  later('ZADD', history, text_of(made.seq), member)
elseif not known and not thread.active_run then
  set(thread, { thread_id = request.thread_id, ['c' .. new.ns] = new.checkpoint_id })
end
flush()
if expires_in > 0 then expire_thread(request.thread_id, redis.call('PEXPIRETIME', P .. 'thread:' .. request.thread_id)) end
