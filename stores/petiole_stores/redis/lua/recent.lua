--- Take threads off the set of those that got checkpoints. KEYS[1] prefix; ARGV[1] {limit}. Answers a list of ids.

return cmsgpack.pack(redis.call('SPOP', KEYS[1] .. 'touched', cmsgpack.unpack(ARGV[1]).limit))
