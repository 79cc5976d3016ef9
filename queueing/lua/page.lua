#!lua flags=no-writes
-- Read a page of the jobs of one set, the highest scores first, going on after the last job looked at before.
--
-- KEYS[1] source  ZSET  job id -> score; ready, running, scheduled or the set of a finished state
-- ARGV[1] job_prefix    + id is the record of a job
-- ARGV[2] limit         how many jobs at most
-- ARGV[3] looks         how many members of the set are looked at, at most
-- ARGV[4] after_score   of the last job looked at, '' for the first page
-- ARGV[5] after_id      of that job; '' passes over all jobs of that score
-- ARGV[6] least_score   jobs of a lower score are not looked at; '-inf' for none
-- ARGV[7] state         '' for any; scheduled and retrying jobs share a set
-- ARGV[8] kind          '' for any
-- ARGV[9] tag           '' for any
-- ARGV[10] owner          '' for any
-- ARGV[11] created_from   ms, '' for any
-- ARGV[12] created_until  ms, '' for any; exclusive
-- ARGV[13] entire         1 reads whole records, else payload, result and all attempts but the last are left out
--
-- Returns {jobs, score, id}: jobs as {id, score, rank from 0, record as name, value pairs}; score and id are of the last
-- job looked at, '' once the set has no more. A job that left the set since the last page is not needed to go on: the
-- score says where it was.
local source = KEYS[1]
local job_prefix, limit, looks, after_score, after_id = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local least_score, state, kind, tag, owner = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local created_from, created_until, entire = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13] == '1'
-- @include whole
-- @include record
local SUMMARY = { 's', 'k', 'o', 't', 'd', 'x', 'm', 'a', 'b', 'l', 'g', 'w', 'st', 'pg', 'cx', 'f', 'ri', 'ow' }

-- Jobs of one score lie together, ids descending, so halving finds where the mark would be among them.
local function rank_after_mark()
  local rank = redis.call('ZCOUNT', source, '(' .. after_score, '+inf')
  local size = redis.call('ZCOUNT', source, after_score, after_score)
  while size > 0 do
    local half = math.floor(size / 2)
    if redis.call('ZREVRANGE', source, rank + half, rank + half)[1] >= after_id then
      rank, size = rank + half + 1, size - half - 1
    else
      size = half
    end
  end
  return rank
end

local function is_wanted(job)
  local created = tonumber(job[3])
  return (state == '' or job[1] == state)
    and (kind == '' or job[2] == kind)
    and (owner == '' or job[5] == owner)
    and (not created_from or created and created >= created_from)
    and (not created_until or created and created < created_until)
    and (tag == '' or job[4] and string.find(job[4], '"' .. tag .. '"', 1, true))
end

local function record_of(id)
  if entire then return redis.call('HGETALL', job_prefix .. id) end
  local pairs, attempt = {}, nil
  for n, value in ipairs(redis.call('HMGET', job_prefix .. id, unpack(SUMMARY))) do
    if SUMMARY[n] == 'a' then attempt = value end
    if value then pairs[#pairs + 1], pairs[#pairs + 2] = SUMMARY[n], value end
  end
  local last = attempt and redis.call('HGET', job_prefix .. id, 'h' .. attempt)
  if last then pairs[#pairs + 1], pairs[#pairs + 2] = 'h' .. attempt, last end
  return pairs
end

local from = after_score == '' and 0 or rank_after_mark()
local upto = math.min(from + looks, redis.call('ZCOUNT', source, least_score, '+inf')) - 1
local found = upto >= from and redis.call('ZREVRANGE', source, from, upto, 'WITHSCORES') or {}
local is_end, jobs = #found < 2 * looks, {}
for at = 1, #found, 2 do
  local id, score, rank = found[at], found[at + 1], from + (at - 1) / 2
  local job = read(id, 'k', 't', 'g', 'ow')
  if job and is_wanted(job) then
    jobs[#jobs + 1] = { id, score, rank, record_of(id) }
    if #jobs == limit and not (is_end and at + 1 == #found) then return { jobs, score, id } end
  end
end
if is_end then return { jobs, '', '' } end
return { jobs, found[#found], found[#found - 1] }
