#!lua flags=allow-oom
-- Expire jobs whose time to live is over before they were started, however deep they are buried.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] expired    ZSET  job id -> finished, ms
-- KEYS[5] meta       HASH  counters
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] limit          how many at most
--
-- Returns how many deadlines were handled.
local ready, scheduled, deadlines, expired, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local limit = tonumber(ARGV[4])
-- @include now
-- @include whole
-- @include count
-- @include record
-- @include finish
-- @include expire

redis.call('ZCARD', ready)
redis.call('ZCARD', scheduled)
redis.call('ZCARD', expired)
return expire_due(limit)
