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
-- ARGV[5] max_attempts        of jobs that name none, unless the queue has a number of its own
-- ARGV[6] atomic              1 stores all jobs or none: when one is refused no other is stored
-- ARGV[7] are_named           1 when the ids are the caller's, who may have sent them before; else they were made for this
-- ARGV[8...] jobs             for each: id, number of options, number of fields of the record, then the options and
--                             these fields as name, value. Options, for what is not as usual: priority (0), run_at_ms
--                             (now), delay_ms, ttl_ms (none), max_attempts and timeout_ms (the queue's own), unique
--                             (digest), submission (digest of the idempotency key) with its fingerprint and
--                             idempotency_ms (how long it is remembered)
--
-- Returns {now, max_attempts, timeout_ms (0: none), position, jobs}; max_attempts and timeout_ms are those of a job
-- that names none, position is that of a single ready job, else 0. What became of each job is its stamp alone when it
-- is created and ready, else {id, outcome, state, stamp, created_ms, due_ms}, the last three of use for a created job
-- only. Outcomes: 'created'; 'exists' (the id is stored already, so sending the same call twice stores nothing twice);
-- 'unique' (id and state are those of the live job that holds the unique key); 'replayed' (those of the job that the
-- same submission made before; the state is '' once that job is deleted); 'mismatch' (the idempotency key was used
-- with another fingerprint) and 'full' (the queue has max_depth waiting jobs): nothing is stored. With overflow
-- drop_oldest a full queue expires its oldest ready job for each new one.
--
-- Of a common call (below) returns the text `now position stamp`: for each table the server takes a buffer of 16 KiB.
local ready, scheduled, deadlines, expired, meta, wake = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, unique_prefix, idempotency_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_attempts, atomic, are_named = ARGV[5], ARGV[6] == '1', ARGV[7] == '1'
-- @include now
-- @include whole
local at = 8

local head = redis.call('HMGET', meta,
  'clock', 'submitted', 'generation', 'max_depth', 'max_attempts', 'timeout_ms', 'overflow', 'minute')
local clock, submitted = tonumber(whole(head[1])) or 0, whole(head[2])

-- A common call brings one new job without options to a queue in use this minute that has no limits of its own. All it
-- needs is here: the rest of this script would do the same, with functions and tables that cost half as much again.
local is_common = not are_named and ARGV[at + 1] == '0' and #ARGV == at + 2 + 2 * ARGV[at + 2]
local has_limits = head[4] or head[5] or head[6]
local is_in_use = submitted and head[3] and tonumber(head[8]) == this_minute
if is_common and not has_limits and is_in_use and clock < now_ticks then
  local id, wake_count = ARGV[at], redis.call('LLEN', wake)
  local position = redis.call('ZCOUNT', ready, '(' .. int(now_ticks), '+inf') + 1
  redis.call('HSET', job_prefix .. id,
    's', 'ready', 'o', now_ticks, 't', now_ms, 'm', max_attempts, unpack(ARGV, at + 3))
  redis.call('ZADD', ready, now_ticks, id)
  if wake_count < 16 then redis.call('LPUSH', wake, 1) end
  redis.call('HSET', meta, 'clock', now_ticks, 'submitted', submitted + 1)
  return string.format('%.0f %d %.0f', now_ms, position, now_ticks)
end

-- @include record
-- @include count
-- @include many
local EPOCH_MS, TICKS_PER_PRIORITY = 1767225600000, 562949953421312

local max_depth, drops_oldest = tonumber(whole(head[4])) or 0, head[7] == 'drop_oldest'
local usual_attempts, usual_timeout = whole(head[5]) or max_attempts, whole(head[6]) or '0'
local now = int(now_ms)
local ready_count, waiting_count = 0, 0
if max_depth > 0 then
  ready_count = redis.call('ZCARD', ready)
  waiting_count = ready_count + redis.call('ZCARD', scheduled)
end

-- Decide for every job before the first write. `known` has what this call itself stores: id, unique key or submission.
-- A job begins like what is read of a stored one: state, created, due.
local jobs, replies, new, remembered, known, drops, is_refused = {}, {}, {}, {}, {}, 0, false
local NONE, position = {}, 0

local function answer()
  return { now, usual_attempts, usual_timeout, position, replies }
end

local function options_at(at, number)
  if number == 0 then return NONE end
  local options = {}
  for n = 0, 2 * number - 1, 2 do options[ARGV[at + n]] = ARGV[at + n + 1] end
  options.ttl_ms = tonumber(options.ttl_ms)
  return options
end

while at <= #ARGV do
  local options, fields = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local first = at + 3 + 2 * options
  local last = first + 2 * fields - 1
  jobs[#jobs + 1] = {
    'ready', now, now, id = ARGV[at], options = options_at(at + 3, options), first = first, last = last,
  }
  at = last + 1
end

-- Whether no id is that of a stored job; a damaged record is one, too.
local function are_new()
  if not are_named then return true end
  for first = 1, #jobs, 100 do
    local records = {}
    for n = first, math.min(first + 99, #jobs) do records[#records + 1] = job_prefix .. jobs[n].id end
    if redis.call('EXISTS', unpack(records)) > 0 then return false end
  end
  return true
end

local function place(job)
  local ticks
  if job[1] == 'ready' then
    clock = math.max(clock + 1, now_ticks)
    ticks = clock
    replies[#replies + 1] = ticks
  else
    ticks = (job.due_ms - EPOCH_MS) * 100
    replies[#replies + 1] = { job.id, 'created', job[1], ticks, now, job[3] }
  end
  job.order = (job.options.priority or 0) * TICKS_PER_PRIORITY + ticks
  new[#new + 1] = job
  known[job.id] = job
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
    replies[#replies + 1] = { id, outcome, job[1], '0', created, due }
  end

  local function refuse(id, outcome)
    is_refused = true
    reply_with(id, outcome, { '' })
  end

  local function replay(job)
    local submission = job.options.submission
    if not submission then return false end
    local made = known[submission] or string_at(idempotency_prefix .. submission)
    if not made then return false end
    local fingerprint, id = string.match(made, '^(%S+) (%S+)$')
    if fingerprint ~= job.options.fingerprint then
      refuse(job.id, 'mismatch')
    else
      reply_with(id, 'replayed', known[id] or read(id, 't', 'd') or { '' })
    end
    return true
  end

  local function holder_of(unique)
    if not unique then return nil end
    local id = known[unique] or string_at(unique_prefix .. unique)
    local holder = id and (known[id] or read(id, 't', 'd'))
    if not holder or FINISHED[holder[1]] then return nil end
    return id, holder
  end

  local function remember(job, id)
    local submission = job.options.submission
    if not submission then return end
    known[submission] = job.options.fingerprint .. ' ' .. id
    remembered[#remembered + 1] = job.options
  end

  local function has_room(job)
    if max_depth == 0 or waiting_count + #new - drops < max_depth then return true end
    if not drops_oldest or job[1] ~= 'ready' or drops >= ready_count then return false end
    drops = drops + 1
    return true
  end

  return function(job)
    local stored, unique = known[job.id] or read(job.id, 't', 'd'), job.options.unique
    if stored then return reply_with(job.id, 'exists', stored) end
    if replay(job) then return end
    local holder_id, holder = holder_of(unique)
    if holder then
      remember(job, holder_id)
      return reply_with(holder_id, 'unique', holder)
    end
    if not has_room(job) then return refuse(job.id, 'full') end
    place(job)
    if unique then known[unique] = job.id end
    remember(job, job.id)
  end
end

local decide
local is_common = max_depth == 0 and are_new()
for _, job in ipairs(jobs) do
  local options = job.options
  if options ~= NONE then
    job.due_ms = math.max(tonumber(options.run_at_ms or 0), now_ms + (options.delay_ms or 0))
    if job.due_ms > now_ms then job[1], job[3] = 'scheduled', int(job.due_ms) end
  end
  if is_common and not options.unique and not options.submission and not known[job.id] then
    place(job)
  else
    decide = decide or new_decider()
    decide(job)
  end
end
if #new == 0 and #remembered == 0 or atomic and is_refused then return answer() end

-- Each key that is written is looked at before: one of another type ends the script here, and not half-way.
local places, dues, expiries = {}, {}, {}
for _, job in ipairs(new) do
  if job[1] == 'ready' then
    places[#places + 1], places[#places + 2] = job.order, job.id
  else
    dues[#dues + 1], dues[#dues + 2] = job[3], job.id
  end
  local ttl_ms = job.options.ttl_ms
  if ttl_ms then expiries[#expiries + 1], expiries[#expiries + 2] = now_ms + ttl_ms, job.id end
end
local wake_count = redis.call('LLEN', wake)
if #dues > 0 or drops > 0 then redis.call('ZCARD', scheduled) end
if #expiries > 0 or drops > 0 then redis.call('ZCARD', deadlines) end
if drops > 0 then redis.call('ZCARD', expired) end
local is_single = #jobs == 1 and #places == 2
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
if is_single then position = redis.call('ZCOUNT', ready, '(' .. int(places[1]), '+inf') + 1 end

for _, job in ipairs(new) do
  local record, options = job_prefix .. job.id, job.options
  redis.call('HSET', record, 's', job[1], 'o', job.order, 't', now, 'm', options.max_attempts or usual_attempts,
    unpack(ARGV, job.first, job.last))
  local timeout_ms = options.timeout_ms or usual_timeout
  if job[1] == 'scheduled' then redis.call('HSET', record, 'd', job[3]) end
  if timeout_ms ~= '0' then redis.call('HSET', record, 'l', timeout_ms) end
  if options.ttl_ms then redis.call('HSET', record, 'x', now_ms + options.ttl_ms) end
  if options.unique then
    redis.call('HSET', record, 'u', options.unique)
    redis.call('SET', unique_prefix .. options.unique, job.id)
  end
end
call_with_many('ZADD', ready, places)
call_with_many('ZADD', scheduled, dues)
call_with_many('ZADD', deadlines, expiries)
for _ = wake_count + 1, math.min(16, wake_count + #new) do redis.call('LPUSH', wake, 1) end
for _, options in ipairs(remembered) do
  local submission = options.submission
  redis.call('SET', idempotency_prefix .. submission, known[submission], 'PX', options.idempotency_ms)
end
if #new > 0 then
  if tonumber(head[8]) ~= this_minute then begin_minute() end
  local about = { 'clock', clock }
  if submitted or not head[2] then about[3], about[4] = 'submitted', (submitted or 0) + #new end
  if not head[3] then about[#about + 1], about[#about + 2] = 'generation', string.sub(jobs[1].id, -16) end
  redis.call('HSET', meta, unpack(about))
end
return answer()
