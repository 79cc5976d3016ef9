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
-- @include whole
-- @include bucket
-- @include run_bounds

local stored = redis.call('ZCARD', succeeded)
local replies, ended, ids, entries = {}, {}, {}, {}
local names, sums = { 'keep_succeeded_ms', 'keep_succeeded_count', 'minute', 'succeeded', 'pruned', 'run_ms' }, {}
for at = 6, #ARGV, 3 do
  local id, token = ARGV[at], ARGV[at + 1]
  local job = redis.pcall('HMGET', job_prefix .. id, 's', 'tk', 'u', 'st')
  local holds = job[2] == token
  if holds and job[1] == 'running' and not ended[id] then
    ended[id], job.result = job, ARGV[at + 2]
    ids[#ids + 1], entries[#entries + 1], entries[#entries + 2] = id, now_ms, id
    if whole(job[4]) then
      local ran_ms = math.max(0, now_ms - tonumber(job[4]))
      local bucket = 'run_' .. bucket_of(RUN_BOUNDS_MS, ran_ms)
      if not sums[bucket] then names[#names + 1] = bucket end
      sums[bucket], sums.run_ms = (sums[bucket] or 0) + 1, (sums.run_ms or 0) + ran_ms
    end
  elseif not (holds and (job[1] == 'succeeded' or ended[id])) then
    redis.pcall('HINCRBY', meta, 'stale', 1)
    holds = false
  end
  replies[#replies + 1] = holds and 1 or 0
end
if #ids == 0 then return replies end

local found, fields = redis.pcall('HMGET', meta, unpack(names)), {}
for first = 1, #ids, 50 do
  local last = math.min(first + 49, #ids)
  redis.call('ZREM', running, unpack(ids, first, last))
  redis.call('ZADD', succeeded, unpack(entries, 2 * first - 1, 2 * last))
end
for _, id in ipairs(ids) do
  local job = ended[id]
  if job.result == '' then
    redis.call('HSET', job_prefix .. id, 's', 'succeeded', 'f', now_ms)
  else
    redis.call('HSET', job_prefix .. id, 's', 'succeeded', 'f', now_ms, 'r', job.result)
  end
  if job[3] then
-- @include unique
    give_up_unique(id, job[3])
  end
end

local finished, own, limit = succeeded, found, 2 * #ids
stored = stored + #ids
-- @include retain
sums.succeeded, sums.pruned = #ids, pruned > 0 and pruned or nil
if tonumber(found[3]) ~= this_minute then
-- @include count
  begin_minute()
end
-- @include sums
return replies
