#!lua flags=allow-oom
-- Set limits of a queue.
--
-- KEYS[1] meta  HASH  limits
-- ARGV[1...] limits  name, value pairs: fair_every (each k-th claim takes the oldest job; 0 is strict LIFO), max_depth (how
--                    many jobs may wait; 0 is any number), overflow ('reject' or 'drop_oldest', when they do),
--                    max_attempts and timeout_ms (0: none) of jobs that name none, and for each finished state
--                    keep_<state>_ms and keep_<state>_count
--
-- Returns 1.
local meta = KEYS[1]
redis.call('HSET', meta, unpack(ARGV))
return 1
