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
-- @include many
local EPOCH_MS, TICKS_PER_PRIORITY = 1767225600000, 562949953421312

local head = redis.call('HMGET', meta,
  'clock', 'generation', 'max_depth', 'overflow', 'max_attempts', 'timeout_ms', 'submitted')
local clock, max_depth = tonumber(whole(head[1])) or 0, tonumber(whole(head[3])) or 0
local drops_oldest = head[4] == 'drop_oldest'
local usual_attempts, usual_timeout = whole(head[5]) or max_attempts, whole(head[6]) or '0'
local now = int(now_ms)
local ready_count, waiting_count = 0, 0
if max_depth > 0 then
  ready_count = redis.call('ZCARD', ready)
  waiting_count = ready_count + redis.call('ZCARD', scheduled)
end

-- Decide for every job before the first write. `known` has what this call itself stores: id, unique key or submission.
-- A job begins like what is read of a stored one: state, created, due.
local replies, new, remembered, known, drops, is_refused = {}, {}, {}, {}, 0, false

local function place(job)
  local ticks
  if job[1] == 'ready' then
    clock = math.max(clock + 1, now_ticks)
    ticks = clock
  else
    ticks = (job.due_ms - EPOCH_MS) * 100
  end
  job.order = job.priority * TICKS_PER_PRIORITY + ticks
  new[#new + 1] = job
  known[job.id] = job
  replies[#replies + 1] = { job.id, 'created', job[1], ticks, now, job[3], 0, job.max_attempts, job.timeout_ms }
end

-- Return what decides for jobs that may be there already, or find no room; most calls bring none.
local function new_decider()
  local FINISHED = { succeeded = true, dead = true, cancelled = true, expired = true }

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
    if not drops_oldest or job[1] ~= 'ready' or drops >= ready_count then return false end
    drops = drops + 1
    return true
  end

  return function(job)
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
    if job.unique ~= '' then known[job.unique] = job.id end
    remember(job, job.id)
  end
end

local decide
local at = 9
while at <= #ARGV do
  local id, due_ms = ARGV[at], math.max(tonumber(ARGV[at + 2]), now_ms + tonumber(ARGV[at + 3]))
  local is_ready, attempts, timeout_ms = due_ms <= now_ms, ARGV[at + 5], ARGV[at + 6]
  local job = {
    is_ready and 'ready' or 'scheduled', now, is_ready and now or int(due_ms),
    at = at, id = id, priority = ARGV[at + 1], due_ms = due_ms, ttl_ms = tonumber(ARGV[at + 4]),
    max_attempts = attempts ~= '' and attempts or usual_attempts,
    timeout_ms = timeout_ms ~= '' and timeout_ms or usual_timeout,
    unique = ARGV[at + 7], submission = ARGV[at + 8], fingerprint = ARGV[at + 9], width = tonumber(ARGV[at + 10]),
  }
  local is_plain = job.unique == '' and job.submission == '' and max_depth == 0
  if is_plain and not known[id] and redis.call('EXISTS', job_prefix .. id) == 0 then
    place(job)
  else
    decide = decide or new_decider()
    decide(job)
  end
  at = at + 11 + 2 * job.width
end
if #new == 0 and #remembered == 0 or atomic and is_refused then return replies end

-- Each key that is written is looked at before: one of another type ends the script here, and not half-way.
local places, dues, expiries = {}, {}, {}
for _, job in ipairs(new) do
  if job[1] == 'ready' then
    places[#places + 1], places[#places + 2] = job.order, job.id
  else
    dues[#dues + 1], dues[#dues + 2] = job[3], job.id
  end
  if job.ttl_ms > 0 then expiries[#expiries + 1], expiries[#expiries + 2] = now_ms + job.ttl_ms, job.id end
end
local wake_count = redis.call('LLEN', wake)
if #dues > 0 or drops > 0 then redis.call('ZCARD', scheduled) end
if #expiries > 0 or drops > 0 then redis.call('ZCARD', deadlines) end
if drops > 0 then redis.call('ZCARD', expired) end
local is_single = #replies == 1 and #places == 2
if #places > 0 and not is_single then redis.call('ZCARD', ready) end

if drops > 0 then
-- @include finish
-- @include expire
-- @include oldest
  for _ = 1, drops do
    local id = oldest_ready()
    if not id then break end
    local job = read(id, 'u')
    if job then drop_expired(id, job[1], job[2]) else redis.call('ZREM', ready, id) end
  end
end
if is_single then replies[1][7] = redis.call('ZCOUNT', ready, '(' .. int(places[1]), '+inf') + 1 end

for _, job in ipairs(new) do
  local fields = { 's', job[1], 'o', job.order, 't', now, 'm', job.max_attempts }
  local size = 8
  for n = 1, 2 * job.width do fields[size + n] = ARGV[job.at + 10 + n] end
  size = size + 2 * job.width
  local function add(name, value)
    fields[size + 1], fields[size + 2], size = name, value, size + 2
  end
  if job[1] == 'scheduled' then add('d', job[3]) end
  if job.timeout_ms ~= '0' then add('l', job.timeout_ms) end
  if job.ttl_ms > 0 then add('x', now_ms + job.ttl_ms) end
  if job.unique ~= '' then
    add('u', job.unique)
    redis.call('SET', unique_prefix .. job.unique, job.id)
  end
  redis.call('HSET', job_prefix .. job.id, unpack(fields))
end
call_with_many('ZADD', ready, places)
call_with_many('ZADD', scheduled, dues)
call_with_many('ZADD', deadlines, expiries)
for _ = wake_count + 1, math.min(16, wake_count + #new) do redis.call('LPUSH', wake, 1) end
for _, submission in ipairs(remembered) do
  redis.call('SET', idempotency_prefix .. submission, known[submission], 'PX', idempotency_ms)
end
if #new > 0 then
  local about, submitted = { 'clock', clock }, head[7] and whole(head[7]) or not head[7] and '0'
  if submitted then about[3], about[4] = 'submitted', submitted + #new end
  if not head[2] then about[#about + 1], about[#about + 2] = 'generation', generation end
  redis.call('HSET', meta, unpack(about))
  count_in_minute('submitted', #new)
end
return replies
