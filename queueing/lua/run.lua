#!lua flags=allow-oom
-- Note that a run of a worker has ended: one drain, by cron, a timer or at an interval.
--
-- KEYS[1] runs  LIST  JSON of runs that ended, the latest first
-- ARGV[1] run   JSON
-- ARGV[2] limit  how many are kept
--
-- Returns how many are kept now.
local runs = KEYS[1]
local run, limit = ARGV[1], tonumber(ARGV[2])
local length = redis.call('LPUSH', runs, run)
redis.call('LTRIM', runs, 0, limit - 1)
return math.min(length, limit)
