--- include records protocol
-- Show threads of schema 1 in the indexes that it had not. KEYS[1] prefix; ARGV[1] {threads}. Answers nothing.

for _, thread_id in ipairs(request.threads) do
  if redis.call('EXISTS', P .. 'history:' .. thread_id) == 1 then redis.call('SADD', P .. 'touched', thread_id) end
  if redis.call('HEXISTS', P .. 'thread:' .. thread_id, 'active_run') == 0 then index_ended(thread_id) end
end
