#!lua flags=allow-oom
-- Make scheduled and retrying jobs ready that are due.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] meta       HASH  counters
-- KEYS[4] wake       LIST  hints for idle workers
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] limit       how many at most
--
-- Returns how many were promoted.
local ready, scheduled, meta, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job_prefix, limit = ARGV[1], tonumber(ARGV[2])
-- @include now
-- @include whole
-- @include record
-- @include promote
-- @include wake

redis.call('ZCARD', ready)
redis.call('LLEN', wake)
local promoted = promote_due(limit)
if promoted > 0 then wake_one() end
return promoted
