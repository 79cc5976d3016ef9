#!lua flags=allow-oom
-- Delete a job that is not running, with all that is known of it.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] succeeded  ZSET  job id -> finished, ms
-- KEYS[5] dead       ZSET  job id -> finished, ms
-- KEYS[6] cancelled  ZSET  job id -> finished, ms
-- KEYS[7] expired    ZSET  job id -> finished, ms
-- KEYS[8] meta       HASH  counters
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] id
--
-- Returns the state the job was in.
-- Errors: JOB_NOT_FOUND, WRONG_STATE with the id and the state
local ready, scheduled, deadlines, succeeded = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local dead, cancelled, expired, meta = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local job_prefix, unique_prefix, id = ARGV[1], ARGV[2], ARGV[3]
-- @include whole
-- @include record
-- @include unique

local SETS = {
  ready = ready, scheduled = scheduled, retrying = scheduled,
  succeeded = succeeded, dead = dead, cancelled = cancelled, expired = expired,
}
local job = read(id, 'u')
if not job then return redis.error_reply('JOB_NOT_FOUND ' .. id) end
if job[1] == 'running' then return redis.error_reply('WRONG_STATE ' .. id .. ' running') end
redis.call('ZCARD', SETS[job[1]])
redis.call('ZCARD', deadlines)

redis.call('ZREM', SETS[job[1]], id)
redis.call('ZREM', deadlines, id)
redis.call('DEL', job_prefix .. id)
give_up_unique(id, job[2])
if job[1] == 'retrying' then redis.pcall('HINCRBY', meta, 'retrying', -1) end
redis.pcall('HINCRBY', meta, 'deleted', 1)
return job[1]
