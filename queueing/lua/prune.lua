#!lua flags=allow-oom
-- Delete finished jobs of one state that are past their retention, the oldest first.
--
-- KEYS[1] finished  ZSET  job id -> finished, ms; the set of one finished state
-- KEYS[2] meta      HASH  counters
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] keep_ms     how long they are kept
-- ARGV[3] keep_count  how many at most
-- ARGV[4] limit       how many to delete at most
--
-- Returns how many were deleted.
local finished, meta = KEYS[1], KEYS[2]
local job_prefix = ARGV[1]
local keep_ms, keep_count, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- @include now
-- @include count
-- @include retain

return retain(finished, keep_ms, keep_count, limit)
