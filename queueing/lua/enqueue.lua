#!lua
-- Store new jobs in the order given, each ready or scheduled; of jobs ready at once the last one is claimed first.
--
-- KEYS[1] ready      ZSET  job id -> order; the highest score is claimed first
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] meta       HASH  clock, counters, generation
-- KEYS[5] wake       LIST  hints for idle workers
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] generation     random; kept as the queue's generation if it has none
-- ARGV[5...] jobs        for each: id, priority, run_at_ms (0: now), delay_ms, ttl_ms (0: none), unique digest or '',
--                        number of fields of the record that follow, then these fields as name, value
--
-- Returns for each job {id, outcome, state, stamp, created_ms, due_ms, position}: outcome is 'created', 'exists' (the
-- id is stored already) or 'unique' (the id and state are those of the live job that holds the unique key). Sending
-- the same call twice stores nothing twice. position is given for a single job, else 0.
local ready, scheduled, deadlines, meta, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local generation = ARGV[4]
-- @include now
-- @include count
-- @include record
-- @include wake
local TICKS_PER_PRIORITY = 562949953421312
local EPOCH_MS = 1767225600000
local FINISHED = { succeeded = true, dead = true, cancelled = true, expired = true }

local head = redis.call('HMGET', meta, 'clock', 'generation')
local clock = tonumber(head[1]) or 0
local ready_count, wake_count = redis.call('ZCARD', ready), redis.call('LLEN', wake)
redis.call('ZCARD', scheduled)
redis.call('ZCARD', deadlines)

local function holder_of(unique)
  local id = redis.pcall('GET', unique_prefix .. unique)
  if type(id) ~= 'string' then return nil end
  local holder = read(id, 't', 'd')
  if not holder or FINISHED[holder[1]] then return nil end
  return id, holder
end

-- Decide for every job before the first write.
local replies, new, in_batch = {}, {}, {}
local at = 5
while at <= #ARGV do
  local id, unique, width = ARGV[at], ARGV[at + 5], tonumber(ARGV[at + 6])
  local stored = in_batch[id] or read(id, 't', 'd')
  local holder_id, holder
  if not stored and unique ~= '' then
    holder_id = in_batch['unique ' .. unique]
    if holder_id then holder = in_batch[holder_id] else holder_id, holder = holder_of(unique) end
  end
  if stored then
    replies[#replies + 1] = { id, 'exists', stored[1], '0', stored[2], stored[3] or stored[2], 0 }
  elseif holder_id then
    replies[#replies + 1] = { holder_id, 'unique', holder[1], '0', holder[2], holder[3] or holder[2], 0 }
  else
    local due_ms = math.max(tonumber(ARGV[at + 2]), now_ms + tonumber(ARGV[at + 3]))
    local job = { id = id, at = at, width = width, unique = unique, state = 'ready', due_ms = due_ms }
    local ticks
    if due_ms > now_ms then
      job.state = 'scheduled'
      ticks = (due_ms - EPOCH_MS) * 100
    else
      clock = math.max(clock + 1, now_ticks)
      ticks = clock
    end
    job.order = int(tonumber(ARGV[at + 1]) * TICKS_PER_PRIORITY + ticks)
    new[#new + 1] = job
    in_batch[id] = { job.state, int(now_ms), int(due_ms) }
    if unique ~= '' then in_batch['unique ' .. unique] = id end
    replies[#replies + 1] = { id, 'created', job.state, int(ticks), int(now_ms), int(due_ms), 0 }
  end
  at = at + 7 + 2 * width
end
if #new == 0 then return replies end
if #replies == 1 and new[1].state == 'ready' then
  replies[1][7] = redis.call('ZCOUNT', ready, '(' .. new[1].order, '+inf') + 1
end

for _, job in ipairs(new) do
  local fields = { 's', job.state, 'o', job.order, 't', int(now_ms) }
  if job.state == 'scheduled' then
    fields[#fields + 1], fields[#fields + 2] = 'd', int(job.due_ms)
  end
  local ttl_ms = tonumber(ARGV[job.at + 4])
  if ttl_ms > 0 then
    local expires = int(now_ms + ttl_ms)
    fields[#fields + 1], fields[#fields + 2] = 'x', expires
    redis.call('ZADD', deadlines, expires, job.id)
  end
  if job.unique ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'u', job.unique
    redis.call('SET', unique_prefix .. job.unique, job.id)
  end
  for n = 1, 2 * job.width do fields[#fields + 1] = ARGV[job.at + 6 + n] end
  redis.call('HSET', job_prefix .. job.id, unpack(fields))
  if job.state == 'ready' then
    redis.call('ZADD', ready, job.order, job.id)
  else
    redis.call('ZADD', scheduled, int(job.due_ms), job.id)
  end
  if wake_count < 16 then
    redis.call('LPUSH', wake, 1)
    wake_count = wake_count + 1
  end
end
redis.call('HSET', meta, 'clock', int(clock), 'generation', head[2] or generation)
count_minute('submitted', #new)
return replies
