#!lua flags=allow-oom
-- Drop jobs that wait in one set, the lowest scores (the oldest) first.
--
-- KEYS[1] source     ZSET  job id -> score; ready, scheduled, or the set of a finished state
-- KEYS[2] deadlines  ZSET  job id -> expires, ms
-- KEYS[3] meta       HASH  counters
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] limit          how many at most
--
-- Returns how many were dropped.
local source, deadlines, meta = KEYS[1], KEYS[2], KEYS[3]
local job_prefix, unique_prefix, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
-- @include record
-- @include unique

local ids = redis.call('ZRANGE', source, 0, limit - 1)
redis.call('ZCARD', deadlines)
local retrying = 0
for _, id in ipairs(ids) do
  local job = read(id, 'u', 'x')
  if job and job[1] == 'retrying' then retrying = retrying + 1 end
  if job then give_up_unique(id, job[2]) end
  if job and job[3] then redis.call('ZREM', deadlines, id) end
  redis.call('DEL', job_prefix .. id)
  redis.call('ZREM', source, id)
end
if retrying > 0 then redis.pcall('HINCRBY', meta, 'retrying', -retrying) end
if #ids > 0 then redis.pcall('HINCRBY', meta, 'purged', #ids) end
return #ids
