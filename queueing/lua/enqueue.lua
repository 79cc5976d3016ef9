#!lua
-- Store new jobs in the order given, each ready or scheduled; of jobs ready at once the last one is claimed first.
--
-- KEYS[1] ready      ZSET  job id -> order; the highest score is claimed first
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] deadlines  ZSET  job id -> expires, ms
-- KEYS[4] expired    ZSET  job id -> finished, ms
-- KEYS[5] meta       HASH  clock, counters, generation, limits
-- KEYS[6] wake       LIST  hints for idle workers
-- ARGV[1] job_prefix          + id is the record of a job
-- ARGV[2] unique_prefix       + digest is the id of the job that holds a unique key
-- ARGV[3] idempotency_prefix  + digest is `fingerprint id` of a submission that must not be made twice
-- ARGV[4] minute_prefix       + minute is a hash of counters
-- ARGV[5] generation          random; kept as the queue's generation if it has none
-- ARGV[6] idempotency_ms      how long a submission is remembered
-- ARGV[7] max_attempts        of jobs that name none, unless the queue has a number of its own
-- ARGV[8] atomic              1 stores all jobs or none: when one is refused no other is stored
-- ARGV[9...] jobs             for each: id, priority, run_at_ms (0: now), delay_ms, ttl_ms (0: none), max_attempts or '',
--                             timeout_ms or '' (the queue's own; none unless it has one), unique digest or '', idempotency
--                             digest or '', fingerprint, number of fields of the record that follow, then these fields as
--                             name, value
--
-- Returns for each job {id, outcome, state, stamp, created_ms, due_ms, position, max_attempts, timeout_ms (0: none)}; the
-- last five are of use for a created job only. Outcomes: 'created'; 'exists' (the id is
-- stored already, so sending the same call twice stores nothing twice); 'unique' (id and state are those of the live job
-- that holds the unique key); 'replayed' (those of the job that the same submission made before; the state is '' once that
-- job is deleted); 'mismatch' (the idempotency key was used with another fingerprint) and 'full' (the queue has max_depth
-- waiting jobs): nothing is stored. position is given for a single job, else 0. With overflow drop_oldest a full queue
-- expires its oldest ready job for each new one.
local ready, scheduled, deadlines, expired, meta, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, unique_prefix, idempotency_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local generation, idempotency_ms, max_attempts, atomic = ARGV[5], ARGV[6], ARGV[7], ARGV[8] == '1'
-- @include now
-- @include count
-- @include record
-- @include finish
-- @include expire
-- @include oldest
local EPOCH_MS = 1767225600000
local FINISHED = { succeeded = true, dead = true, cancelled = true, expired = true }

local head = redis.call('HMGET', meta, 'clock', 'generation', 'max_depth', 'overflow', 'max_attempts', 'timeout_ms')
local clock, max_depth = tonumber(whole(head[1])) or 0, tonumber(whole(head[3])) or 0
local drops_oldest = head[4] == 'drop_oldest'
local usual_attempts, usual_timeout = whole(head[5]) or max_attempts, whole(head[6]) or '0'
local ready_count, wake_count = redis.call('ZCARD', ready), redis.call('LLEN', wake)
local waiting_count = ready_count + redis.call('ZCARD', scheduled)
redis.call('ZCARD', deadlines)
redis.call('ZCARD', expired)

-- Decide for every job before the first write. `known` has what this call itself stores: id, unique key or submission.
local replies, new, remembered, known, drops, is_refused = {}, {}, {}, {}, 0, false

local function string_at(key)
  local value = redis.pcall('GET', key)
  return type(value) == 'string' and value or nil
end

local function reply_with(id, outcome, job)
  local created, due = whole(job[2]) or '0', whole(job[3]) or whole(job[2]) or '0'
  replies[#replies + 1] = { id, outcome, job[1], '0', created, due, 0, '0', '0' }
end

local function refuse(id, outcome)
  is_refused = true
  reply_with(id, outcome, { '' })
end

local function replay(job)
  if job.submission == '' then return false end
  local made = known[job.submission] or string_at(idempotency_prefix .. job.submission)
  if not made then return false end
  local fingerprint, id = string.match(made, '^(%S+) (%S+)$')
  if fingerprint ~= job.fingerprint then
    refuse(job.id, 'mismatch')
  else
    reply_with(id, 'replayed', known[id] or read(id, 't', 'd') or { '' })
  end
  return true
end

local function holder_of(unique)
  if unique == '' then return nil end
  local id = known[unique] or string_at(unique_prefix .. unique)
  local holder = id and (known[id] or read(id, 't', 'd'))
  if not holder or FINISHED[holder[1]] then return nil end
  return id, holder
end

local function remember(job, id)
  if job.submission == '' then return end
  known[job.submission] = job.fingerprint .. ' ' .. id
  remembered[#remembered + 1] = job.submission
end

local function has_room(job)
  if max_depth == 0 or waiting_count + #new - drops < max_depth then return true end
  if not drops_oldest or job.state ~= 'ready' or drops >= ready_count then return false end
  drops = drops + 1
  return true
end

local function place(job)
  local ticks = (job.due_ms - EPOCH_MS) * 100
  if job.state == 'ready' then
    clock = math.max(clock + 1, now_ticks)
    ticks = clock
  end
  job.order = int(job.priority * TICKS_PER_PRIORITY + ticks)
  new[#new + 1] = job
  known[job.id] = { job.state, int(now_ms), int(job.due_ms) }
  if job.unique ~= '' then known[job.unique] = job.id end
  remember(job, job.id)
  local allowed, timeout = job.max_attempts, job.timeout_ms
  replies[#replies + 1] =
    { job.id, 'created', job.state, int(ticks), int(now_ms), int(job.due_ms), 0, allowed, timeout }
end

local function decide(job)
  local stored = known[job.id] or read(job.id, 't', 'd')
  if stored then return reply_with(job.id, 'exists', stored) end
  if replay(job) then return end
  local holder_id, holder = holder_of(job.unique)
  if holder then
    remember(job, holder_id)
    return reply_with(holder_id, 'unique', holder)
  end
  if not has_room(job) then return refuse(job.id, 'full') end
  place(job)
end

local function or_usual(text, usual)
  return text ~= '' and text or usual
end

local at = 9
while at <= #ARGV do
  local due_ms = math.max(tonumber(ARGV[at + 2]), now_ms + tonumber(ARGV[at + 3]))
  local job = {
    at = at, id = ARGV[at], priority = tonumber(ARGV[at + 1]), due_ms = due_ms, ttl_ms = tonumber(ARGV[at + 4]),
    max_attempts = or_usual(ARGV[at + 5], usual_attempts), timeout_ms = or_usual(ARGV[at + 6], usual_timeout),
    unique = ARGV[at + 7], submission = ARGV[at + 8], fingerprint = ARGV[at + 9], width = tonumber(ARGV[at + 10]),
    state = due_ms > now_ms and 'scheduled' or 'ready',
  }
  decide(job)
  at = at + 11 + 2 * job.width
end
if atomic and is_refused then return replies end

local function store(job)
  local fields = { 's', job.state, 'o', job.order, 't', int(now_ms), 'm', job.max_attempts }
  local function add(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end
  if job.state == 'scheduled' then add('d', int(job.due_ms)) end
  if job.timeout_ms ~= '0' then add('l', job.timeout_ms) end
  if job.ttl_ms > 0 then
    add('x', int(now_ms + job.ttl_ms))
    redis.call('ZADD', deadlines, int(now_ms + job.ttl_ms), job.id)
  end
  if job.unique ~= '' then
    add('u', job.unique)
    redis.call('SET', unique_prefix .. job.unique, job.id)
  end
  for n = 1, 2 * job.width, 2 do add(ARGV[job.at + 10 + n], ARGV[job.at + 11 + n]) end
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

for _ = 1, drops do
  local id = oldest_ready()
  if not id then break end
  local job = read(id, 'u')
  if job then drop_expired(id, job[1], job[2]) else redis.call('ZREM', ready, id) end
end
if #replies == 1 and #new == 1 and new[1].state == 'ready' then
  replies[1][7] = redis.call('ZCOUNT', ready, '(' .. new[1].order, '+inf') + 1
end
for _, job in ipairs(new) do store(job) end
for _, submission in ipairs(remembered) do
  redis.call('SET', idempotency_prefix .. submission, known[submission], 'PX', idempotency_ms)
end
if #new > 0 then
  redis.call('HSET', meta, 'clock', int(clock), 'generation', head[2] or generation)
  count_minute('submitted', #new)
end
return replies
