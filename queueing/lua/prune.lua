#!lua flags=allow-oom
-- Delete finished jobs of one state that are past their retention, the oldest first.
--
-- KEYS[1] finished  ZSET  job id -> finished, ms; the set of one finished state
-- KEYS[2] meta      HASH  counters, limits
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] state       the finished state
-- ARGV[3] keep_ms     how long its jobs are kept, unless the queue has a time of its own
-- ARGV[4] keep_count  how many at most, likewise
-- ARGV[5] limit       how many to delete at most
--
-- Returns how many were deleted.
local finished, meta = KEYS[1], KEYS[2]
local job_prefix, state = ARGV[1], ARGV[2]
local keep_ms, keep_count, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- @include now
-- @include whole
-- @include count

local own = redis.pcall('HMGET', meta, 'keep_' .. state .. '_ms', 'keep_' .. state .. '_count')
local stored = redis.call('ZCARD', finished)
-- @include retain
count('pruned', pruned)
return pruned
