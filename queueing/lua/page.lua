#!lua flags=no-writes
-- Read a page of the jobs of one set, the highest scores first, going on after the last job of the page before.
--
-- KEYS[1] source  ZSET  job id -> score; ready, running, scheduled or the set of a finished state
-- ARGV[1] job_prefix   + id is the record of a job
-- ARGV[2] limit        how many at most
-- ARGV[3] after_score  of the last job seen, '' for the first page
-- ARGV[4] after_id     of the last job seen
--
-- Returns {rank of the first job, jobs}: each as {id, score, record as name, value pairs}. A job that left the set since
-- the last page is not needed to go on: the score says where it was.
local source = KEYS[1]
local job_prefix, limit, after_score, after_id = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

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

local rank, jobs = after_score == '' and 0 or rank_after_mark(), {}
local found = redis.call('ZREVRANGE', source, rank, rank + limit - 1, 'WITHSCORES')
for at = 1, #found, 2 do
  jobs[#jobs + 1] = { found[at], found[at + 1], redis.call('HGETALL', job_prefix .. found[at]) }
end
return { rank, jobs }
