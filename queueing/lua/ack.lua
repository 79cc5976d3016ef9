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
-- @include finish
-- @include retain
-- @include observe

redis.call('ZCARD', running)
redis.call('ZCARD', succeeded)
local replies, held, seen, stale = {}, {}, {}, 0
for at = 6, #ARGV, 3 do
  local id, token = ARGV[at], ARGV[at + 1]
  local job = read(id, 'tk', 'u', 'st')
  local holds = job and job[2] == token
  if holds and job[1] == 'running' and not seen[id] then
    seen[id] = true
    held[#held + 1] = { id = id, result = ARGV[at + 2], unique = job[3], started = tonumber(whole(job[4])) }
  elseif not (holds and (job[1] == 'succeeded' or seen[id])) then
    stale = stale + 1
    holds = false
  end
  replies[#replies + 1] = holds and 1 or 0
end
count('stale', stale)
for _, job in ipairs(held) do
  local key = job_prefix .. job.id
  if job.result == '' then
    redis.call('HSET', key, 's', 'succeeded', 'f', int(now_ms))
  else
    redis.call('HSET', key, 's', 'succeeded', 'f', int(now_ms), 'r', job.result)
  end
  redis.call('ZREM', running, job.id)
  redis.call('ZADD', succeeded, int(now_ms), job.id)
  give_up_unique(job.id, job.unique)
  if job.started then observe(BOUNDS_MS.run, now_ms - job.started) end
end
count_minute('succeeded', #held)
count_observed('run', count)
retain('succeeded', succeeded, keep_ms, keep_count, 2 * #held)
return replies
