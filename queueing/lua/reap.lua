#!lua flags=allow-oom
-- Take back jobs whose lease ran out, each to its old place; one that has killed its workers too often is dead.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] running    ZSET  job id -> lease expiry, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] dead       ZSET  job id -> finished, ms
-- KEYS[5] cancelled  ZSET  job id -> finished, ms
-- KEYS[6] meta       HASH  counters
-- KEYS[7] wake       LIST  hints for idle workers
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] limit          how many at most
-- ARGV[5] max_crashes    how many leases a job may let run out before it is dead
-- ARGV[6] error          JSON, what the history says of a lost attempt
-- ARGV[7] from_ms        a lease that ended before this is left alone; '-inf' for none
-- ARGV[8] to_ms          when the last lease to take ended; '' for now
-- ARGV[9] longest_ms     what a lease may have left; one that has more, the clock having been put back, is cut to it
--
-- Returns {id, state, attempt} for each job taken back. The token of the lost lease is worth nothing from then on.
local ready, running, deadlines = KEYS[1], KEYS[2], KEYS[3]
local dead, cancelled, meta, wake = KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local limit, max_crashes, error = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local from_ms, to_ms, longest_ms = ARGV[7], ARGV[8], tonumber(ARGV[9])
-- @include now
-- @include whole
-- @include count
-- @include record
-- @include finish
-- @include end_attempt
-- @include wake

redis.call('ZCARD', ready)
redis.call('ZCARD', deadlines)
redis.call('ZCARD', dead)
redis.call('ZCARD', cancelled)
redis.call('LLEN', wake)
if to_ms == '' then to_ms = int(now_ms) end
local ids = redis.call('ZRANGEBYSCORE', running, from_ms, to_ms, 'LIMIT', 0, limit)
local latest_end = int(now_ms + longest_ms)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', running, '(' .. latest_end, '+inf', 'LIMIT', 0, limit)) do
  redis.call('ZADD', running, latest_end, id)
end

local function take_back(id)
  local job = read(id, 'a', 'm', 'n', 'st', 'w', 'u', 'x', 'cx', 'o')
  if not job or job[1] ~= 'running' then
    redis.call('ZREM', running, id)
    return nil
  end
  local attempt, allowed = tonumber(whole(job[2])) or 1, tonumber(whole(job[3])) or 0
  local crashes = (tonumber(whole(job[4])) or 0) + 1
  end_attempt(id, attempt, job[5], job[6], 'lost', error)
  redis.call('HDEL', job_prefix .. id, 'tk')
  redis.call('HSET', job_prefix .. id, 'n', crashes)
  if job[9] then
    finish(id, 'cancelled', cancelled, job[7])
    count_minute('cancelled', 1)
    return { id, 'cancelled', attempt }
  elseif crashes >= max_crashes or attempt >= allowed or not whole(job[10]) then
    finish(id, 'dead', dead, job[7])
    count_minute('dead', 1)
    return { id, 'dead', attempt }
  end
  redis.call('HSET', job_prefix .. id, 's', 'ready')
  redis.call('ZADD', ready, job[10], id)
  if whole(job[8]) then redis.call('ZADD', deadlines, job[8], id) end
  wake_one()
  return { id, 'ready', attempt }
end

local taken = {}
for _, id in ipairs(ids) do taken[#taken + 1] = take_back(id) end
count_minute('reaped', #taken)
return taken
