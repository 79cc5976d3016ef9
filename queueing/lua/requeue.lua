#!lua
-- Make a dead job ready again, at its old place and with as many attempts as it was submitted with.
--
-- KEYS[1] ready  ZSET  job id -> order
-- KEYS[2] dead   ZSET  job id -> finished, ms
-- KEYS[3] meta   HASH  counters
-- KEYS[4] wake   LIST  hints for idle workers
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] id
--
-- Returns the state the job is in now, 'ready'. Its attempts keep counting, so its history stays readable: a job that
-- died after attempt 5 of 5 goes on with attempt 6 of 10. A time to live it had is over and done with.
-- Errors: JOB_NOT_FOUND, WRONG_STATE with the id and the state, DAMAGED with the id (the record has no place or limit)
local ready, dead, meta, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local job_prefix, id = ARGV[1], ARGV[2]
-- @include whole
-- @include record
-- @include wake

local job = read(id, 'o', 'a', 'm', 'b')
if not job then return redis.error_reply('JOB_NOT_FOUND ' .. id) end
if job[1] ~= 'dead' then return redis.error_reply('WRONG_STATE ' .. id .. ' ' .. job[1]) end
if not (whole(job[2]) and whole(job[4])) then return redis.error_reply('DAMAGED ' .. id) end
redis.call('ZCARD', ready)
redis.call('ZCARD', dead)
redis.call('LLEN', wake)

local attempts, allowed, base = tonumber(whole(job[3])) or 0, tonumber(job[4]), tonumber(whole(job[5])) or 0
redis.call('HSET', job_prefix .. id, 's', 'ready', 'b', attempts, 'm', attempts + allowed - base)
redis.call('HDEL', job_prefix .. id, 'f', 'n', 'x', 'u', 'cx', 'tk')
redis.call('ZREM', dead, id)
redis.call('ZADD', ready, job[2], id)
redis.pcall('HINCRBY', meta, 'requeued', 1)
wake_one()
return 'ready'
