#!lua flags=allow-oom
-- Drop jobs of one set, the lowest scores (the oldest) first.
--
-- KEYS[1] source     ZSET  job id -> score; ready, scheduled, or the set of a finished state
-- KEYS[2] deadlines  ZSET  job id -> expires, ms
-- KEYS[3] meta       HASH  counters
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] state          jobs in another state stay, '' for none: scheduled and retrying jobs share a set
-- ARGV[4] kept           how many of the lowest scores were looked at before, and stayed
-- ARGV[5] looks          how many to look at, at most
--
-- Returns {dropped, kept}: how many were, of those looked at.
local source, deadlines, meta = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, unique_prefix, state, kept, looks = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
-- @include whole
-- @include record
-- @include unique

local ids = redis.call('ZRANGE', source, kept, kept + looks - 1)
redis.call('ZCARD', deadlines)
local dropped, retrying = 0, 0
for _, id in ipairs(ids) do
  local job = read(id, 'u')
  if state == '' or job and job[1] == state then
    if job and job[1] == 'retrying' then retrying = retrying + 1 end
    if job then give_up_unique(id, job[2]) end
    redis.call('ZREM', deadlines, id)
    redis.call('DEL', job_prefix .. id)
    redis.call('ZREM', source, id)
    dropped = dropped + 1
  end
end
if retrying > 0 then redis.pcall('HINCRBY', meta, 'retrying', -retrying) end
if dropped > 0 then redis.pcall('HINCRBY', meta, 'purged', dropped) end
return { dropped, #ids - dropped }
