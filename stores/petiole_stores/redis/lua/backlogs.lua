--- include records queues
-- Count what waits in this partition. KEYS[1] prefix; ARGV[1] {now?}. Answers {woken = 0, backlogs: list of QueueBacklog}.

return cmsgpack.pack({ woken = 0, backlogs = backlogs() })
