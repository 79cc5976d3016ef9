#!lua flags=no-writes
-- Read the runs of workers that have ended.
--
-- KEYS[1] runs  LIST  JSON of runs that ended, the latest first
-- ARGV[1] limit  how many at most
--
-- Returns the JSON of each.
local runs = KEYS[1]
local limit = tonumber(ARGV[1])
return redis.call('LRANGE', runs, 0, limit - 1)
