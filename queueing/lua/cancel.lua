#!lua flags=allow-oom
-- Cancel a job: at once while it waits; while it runs its holder learns of it with its next extend.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] cancelled  ZSET  job id -> finished, ms
-- KEYS[5] meta       HASH  counters
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] id
--
-- Returns the state the job is in now: 'cancelled' (also when it was before), or 'running'.
-- Errors: JOB_NOT_FOUND, WRONG_STATE with the id and the state
local ready, scheduled, deadlines, cancelled, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local id = ARGV[4]
-- @include now
-- @include whole
-- @include count
-- @include record
-- @include finish

local job = read(id, 'u', 'x')
if not job then return redis.error_reply('JOB_NOT_FOUND ' .. id) end
local state = job[1]
if state == 'cancelled' then return state end
if state == 'running' then
  redis.call('HSET', job_prefix .. id, 'cx', 1)
  return state
end
if not (state == 'ready' or state == 'scheduled' or state == 'retrying') then
  return redis.error_reply('WRONG_STATE ' .. id .. ' ' .. state)
end
redis.call('ZCARD', ready)
redis.call('ZCARD', scheduled)
redis.call('ZCARD', deadlines)
redis.call('ZCARD', cancelled)
redis.call('ZREM', state == 'ready' and ready or scheduled, id)
if state == 'retrying' then count('retrying', -1) end
finish(id, 'cancelled', cancelled, job[2], job[3])
count_minute('cancelled', 1)
return 'cancelled'
