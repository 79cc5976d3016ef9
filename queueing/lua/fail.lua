#!lua flags=allow-oom
-- End an attempt that failed: the job waits for its next attempt, or is dead when none is left.
--
-- KEYS[1] running    ZSET  job id -> lease expiry, ms
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] dead       ZSET  job id -> finished, ms
-- KEYS[5] cancelled  ZSET  job id -> finished, ms
-- KEYS[6] expired    ZSET  job id -> finished, ms
-- KEYS[7] meta       HASH  counters
-- KEYS[8] wake       LIST  hints for idle workers
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] id
-- ARGV[5] token
-- ARGV[6] error          JSON
-- ARGV[7] delay_ms       until the next attempt
-- ARGV[8] outcome        'failed' (retry if attempts are left), 'crashed' (the same, and it killed its process), 'dead'
--                        (no retry) or 'cancelled'
-- ARGV[9] max_crashes    how often a job may crash before it is dead
--
-- Returns the state the job is in now. With the same token it may be sent again.
-- Errors: LEASE_LOST
local running, scheduled, deadlines, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local cancelled, expired, meta, wake = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local id, token, error, delay_ms = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local outcome, max_crashes = ARGV[8], tonumber(ARGV[9])
-- @include now
-- @include whole
-- @include count
-- @include record
-- @include finish
-- @include end_attempt
-- @include wake
-- @include bucket
-- @include run_bounds
local ENDED = { retrying = true, dead = true, cancelled = true, expired = true }

local job = read(id, 'tk', 'a', 'm', 'st', 'w', 'u', 'x', 'cx', 'n')
if not job or job[2] ~= token or not (job[1] == 'running' or ENDED[job[1]]) then
  count('stale', 1)
  return redis.error_reply('LEASE_LOST ' .. id)
end
if job[1] ~= 'running' then return job[1] end
redis.call('ZCARD', running)
redis.call('ZCARD', scheduled)
redis.call('ZCARD', deadlines)
redis.call('ZCARD', dead)
redis.call('ZCARD', cancelled)
redis.call('ZCARD', expired)
redis.call('LLEN', wake)

local attempt, allowed = tonumber(whole(job[3])) or 1, tonumber(whole(job[4])) or 0
local expires = tonumber(whole(job[8]))
local crashed = outcome == 'crashed'
local crashes = (tonumber(whole(job[10])) or 0) + (crashed and 1 or 0)
end_attempt(id, attempt, job[5], job[6], crashed and 'failed' or outcome, error)
if crashed then redis.call('HSET', job_prefix .. id, 'n', crashes) end
if outcome == 'cancelled' then count('stopped', 1) else count_minute('failed', 1) end
if whole(job[5]) then
  local ran_ms = math.max(0, now_ms - tonumber(job[5]))
  count('run_' .. bucket_of(RUN_BOUNDS_MS, ran_ms), 1)
  count('run_ms', ran_ms)
end
if outcome == 'cancelled' or job[9] then
  finish(id, 'cancelled', cancelled, job[7])
  count_minute('cancelled', 1)
  return 'cancelled'
elseif outcome == 'dead' or attempt >= allowed or (crashed and crashes >= max_crashes) then
  finish(id, 'dead', dead, job[7])
  count_minute('dead', 1)
  return 'dead'
elseif expires and expires <= now_ms then
  finish(id, 'expired', expired, job[7])
  count_minute('expired', 1)
  return 'expired'
end
if expires then redis.call('ZADD', deadlines, int(expires), id) end
redis.call('HSET', job_prefix .. id, 's', 'retrying')
redis.call('ZADD', scheduled, int(now_ms + delay_ms), id)
count('retrying', 1)
count('retried', 1)
wake_one()
return 'retrying'
