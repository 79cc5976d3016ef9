#!lua flags=allow-oom
-- Set limits of a queue.
--
-- KEYS[1] meta  HASH  limits
-- ARGV[1] fair_every  each k-th claim takes the oldest job; 0 is strict LIFO
--
-- Returns 1.
local meta = KEYS[1]
local fair_every = ARGV[1]
redis.call('HSET', meta, 'fair_every', fair_every)
return 1
