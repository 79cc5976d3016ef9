#!lua
-- Finish the job that was claimed before and claim the newest one: the least that is at least once.
--
-- KEYS[1] ready     ZSET  job id -> order; the highest score is claimed first
-- KEYS[2] running   ZSET  job id -> lease expiry, ms
-- KEYS[3] finished  ZSET  job id -> finished, ms
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] done        id of the job that has ended, or ''
-- ARGV[3] lease_ms
-- ARGV[4] keep        how many seconds a finished record is kept; 0 deletes it
--
-- Returns {id, payload, attempt}, or nil when no job is ready.
local ready, running, finished = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, done, lease_ms, keep = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if done ~= '' then
  redis.call('ZREM', running, done)
  if keep > 0 then
    redis.call('HSET', job_prefix .. done, 'state', 'succeeded', 'finished', string.format('%.0f', now_ms))
    redis.call('EXPIRE', job_prefix .. done, keep)
    redis.call('ZADD', finished, now_ms, done)
  else
    redis.call('DEL', job_prefix .. done)
  end
end
local top = redis.call('ZPOPMAX', ready)
if not top[1] then return false end
redis.call('ZADD', running, now_ms + lease_ms, top[1])
local attempt = redis.call('HINCRBY', job_prefix .. top[1], 'attempts', 1)
return { top[1], redis.call('HGET', job_prefix .. top[1], 'payload'), attempt }
