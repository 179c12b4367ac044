--- Events of threads. Put before the scripts of theirs; it stands alone, without records.
--
-- KEYS[1]  the partition's prefix with its hash tag; ARGV[1] the request, msgpack; "now" (seconds) replaces the server's time
--
-- Keys of a partition, beside those of records.lua
--   events:<thread>     stream  its events under the ids <seq>-0: run, id, kind, codec, data, at
--   event-ids:<thread>  set     the ids of these events
--   events-old          zset    threads that have events, by the time of their oldest one
-- The first two expire with their thread.

local P = KEYS[1]
local request = cmsgpack.unpack(ARGV[1])
local now = request.now
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local function text_of(number) return string.format('%.17g', number) end

local function forget_events(thread_id)
  redis.call('UNLINK', P .. 'events:' .. thread_id, P .. 'event-ids:' .. thread_id)
  redis.call('ZREM', P .. 'events-old', thread_id)
end
