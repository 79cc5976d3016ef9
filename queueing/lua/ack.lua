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
-- @include run_bounds
-- @include retain

local stored = redis.call('ZCARD', succeeded)
local own = redis.pcall('HMGET', meta, 'keep_succeeded_ms', 'keep_succeeded_count')
local replies, held, ids, entries = {}, {}, {}, {}
for at = 6, #ARGV, 3 do
  local id, token = ARGV[at], ARGV[at + 1]
  local job = read(id, 'tk', 'u', 'st')
  local holds = job and job[2] == token
  if holds and job[1] == 'running' and not held[id] then
    held[id] = { unique = job[3], started = whole(job[4]), result = ARGV[at + 2] }
    ids[#ids + 1], entries[#entries + 1], entries[#entries + 2] = id, now_ms, id
  elseif not (holds and (job[1] == 'succeeded' or held[id])) then
    tally('stale', 1)
    holds = false
  end
  replies[#replies + 1] = holds and 1 or 0
end

if #ids > 0 then
  call_with_many('ZREM', running, ids)
  call_with_many('ZADD', succeeded, entries)
  for _, id in ipairs(ids) do
    local job = held[id]
    if job.result == '' then
      redis.call('HSET', job_prefix .. id, 's', 'succeeded', 'f', now_ms)
    else
      redis.call('HSET', job_prefix .. id, 's', 'succeeded', 'f', now_ms, 'r', job.result)
    end
    give_up_unique(id, job.unique)
    if job.started then observe('run', RUN_BOUNDS_MS, now_ms - tonumber(job.started)) end
  end
  tally('succeeded', #ids)
  count_in_minute('succeeded', #ids)
  tally('pruned', retain(succeeded, stored + #ids, own, 2 * #ids))
end
add_up()
return replies
