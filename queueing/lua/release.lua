#!lua flags=allow-oom
-- Give a running job back uncounted, at its old place.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] running    ZSET  job id -> lease expiry, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] cancelled  ZSET  job id -> finished, ms
-- KEYS[5] meta       HASH  counters
-- KEYS[6] wake       LIST  hints for idle workers
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] id
-- ARGV[5] token
--
-- Returns the state the job is in now: 'ready', or 'cancelled' when that was requested meanwhile. With the same token
-- it may be sent again.
-- Errors: LEASE_LOST, DAMAGED with the id (the record has no place to go back to)
local ready, running, deadlines, cancelled, meta, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local id, token = ARGV[4], ARGV[5]
-- @include now
-- @include whole
-- @include count
-- @include record
-- @include finish
-- @include wake

local job = read(id, 'tk', 'a', 'o', 'u', 'x', 'cx')
if not job or job[2] ~= token or not (job[1] == 'running' or job[1] == 'ready' or job[1] == 'cancelled') then
  count('stale', 1)
  return redis.error_reply('LEASE_LOST ' .. id)
end
if job[1] ~= 'running' then return job[1] end
if not whole(job[4]) then return redis.error_reply('DAMAGED ' .. id) end
redis.call('ZCARD', running)
redis.call('ZCARD', ready)
redis.call('ZCARD', deadlines)
redis.call('ZCARD', cancelled)
redis.call('LLEN', wake)

redis.call('ZREM', running, id)
count('released', 1)
if job[7] then
  finish(id, 'cancelled', cancelled, job[5])
  count_minute('cancelled', 1)
  return 'cancelled'
end
redis.call('HSET', job_prefix .. id, 's', 'ready', 'a', (tonumber(whole(job[3])) or 1) - 1)
redis.call('ZADD', ready, job[4], id)
if whole(job[6]) then redis.call('ZADD', deadlines, job[6], id) end
wake_one()
return 'ready'
