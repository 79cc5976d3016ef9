#!lua flags=allow-oom
-- Finish attempts that succeeded, keeping their results.
--
-- KEYS[1] running    ZSET  job id -> lease expiry, ms
-- KEYS[2] succeeded  ZSET  job id -> finished, ms
-- KEYS[3] meta       HASH  counters, limits
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] keep_ms        how long succeeded jobs are kept, unless the queue has a time of its own
-- ARGV[5] keep_count     how many of them at most, likewise
-- ARGV[6...] attempts    for each: id, token, result ('' for none)
--
-- Returns for each attempt 1 (succeeded, also when the same token said so before) or 0 (the lease is lost, nothing
-- was changed).
local running, succeeded, meta = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local keep_ms, keep_count = tonumber(ARGV[4]), tonumber(ARGV[5])
-- @include now
-- @include count
-- @include record
-- @include unique
-- @include observe
-- @include succeed

redis.call('ZCARD', running)
redis.call('ZCARD', succeeded)
local own = redis.pcall('HMGET', meta, 'keep_succeeded_ms', 'keep_succeeded_count')
local attempts = {}
for at = 6, #ARGV, 3 do attempts[#attempts + 1] = { ARGV[at], ARGV[at + 1], ARGV[at + 2] } end
local replies = succeed(attempts, own)
add_up()
return replies
