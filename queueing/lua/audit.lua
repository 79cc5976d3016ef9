#!lua flags=allow-oom
-- Compare the records of jobs with the sets they are in, and mend what does not fit if told to.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] running    ZSET  job id -> lease expiry, ms
-- KEYS[4] deadlines  ZSET  job id -> expires, ms
-- KEYS[5] succeeded  ZSET  job id -> finished, ms
-- KEYS[6] dead       ZSET  job id -> finished, ms
-- KEYS[7] cancelled  ZSET  job id -> finished, ms
-- KEYS[8] expired    ZSET  job id -> finished, ms
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] repair      1 to mend, 0 to look only
-- ARGV[3...] ids      at most 100
--
-- Returns {id, fault, mended (0 or 1)} for each fault: 'no_record' (an id in a set without a record: taken out),
-- 'damaged' (a record without what it needs, or under what is no id: left alone, and out of every set), 'no_place' (in no
-- set of its state: put there; a running one as if its lease had just run out), 'extra_place' (in another set too: taken
-- out), 'no_deadline' and 'extra_deadline' (the time to live: put into or out of the set of deadlines).
local ready, scheduled, running, deadlines = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local succeeded, dead, cancelled, expired = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local job_prefix, repair = ARGV[1], ARGV[2] == '1'
-- @include now
-- @include whole
-- @include record
local SETS = { ready, scheduled, running, succeeded, dead, cancelled, expired }
local HOME = {
  ready = ready, scheduled = scheduled, retrying = scheduled, running = running,
  succeeded = succeeded, dead = dead, cancelled = cancelled, expired = expired,
}
local WAITING = { ready = true, scheduled = true, retrying = true }

-- Whether it is an id of this queue: under any other nobody could look a job up or end it.
local start = string.match(job_prefix, '{(.*)}') .. '_'
local function is_id(id)
  return string.sub(id, 1, #start) == start and #id == #start + 32 and string.match(id, '^[%da-f]+$', #start + 1)
end

local faults = {}
local function found(id, fault, ...)
  faults[#faults + 1] = { id, fault, repair and 1 or 0 }
  if repair and select('#', ...) > 0 then redis.call(...) end
end

local function leave_sets(id, home, fault)
  for _, set in ipairs(SETS) do
    if set ~= home and redis.call('ZSCORE', set, id) then found(id, fault, 'ZREM', set, id) end
  end
end

local function score_at_home(job)
  local state = job[1]
  if state == 'ready' then return job[2] end
  if state == 'running' then return int(now_ms) end
  if WAITING[state] then return whole(job[4]) or int(now_ms) end
  return whole(job[5]) or int(now_ms)
end

local function audit(id)
  local job = is_id(id) and read(id, 'o', 'x', 'd', 'f', 'p', 'k', 'm', 't')
  if not job then
    leave_sets(id, nil, 'no_record')
    if redis.call('ZSCORE', deadlines, id) then found(id, 'extra_deadline', 'ZREM', deadlines, id) end
    if redis.call('EXISTS', job_prefix .. id) == 1 then faults[#faults + 1] = { id, 'damaged', 0 } end
    return
  end
  local home = HOME[job[1]]
  if not (whole(job[2]) and job[6] and job[7] and whole(job[8]) and whole(job[9])) then
    leave_sets(id, nil, 'damaged')
    if redis.call('ZSCORE', deadlines, id) then found(id, 'extra_deadline', 'ZREM', deadlines, id) end
    faults[#faults + 1] = { id, 'damaged', 0 }
    return
  end
  if not redis.call('ZSCORE', home, id) then found(id, 'no_place', 'ZADD', home, score_at_home(job), id) end
  leave_sets(id, home, 'extra_place')
  local has_deadline, wants = redis.call('ZSCORE', deadlines, id), whole(job[3]) and WAITING[job[1]]
  if wants and not has_deadline then found(id, 'no_deadline', 'ZADD', deadlines, job[3], id) end
  if has_deadline and not wants then found(id, 'extra_deadline', 'ZREM', deadlines, id) end
end

for at = 3, #ARGV do audit(ARGV[at]) end
return faults
