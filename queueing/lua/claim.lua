#!lua flags=allow-oom
-- Give the newest ready jobs to a worker, each under a lease, after promoting what is due and expiring what is late.
--
-- KEYS[1] ready      ZSET  job id -> order; the highest score is claimed first
-- KEYS[2] running    ZSET  job id -> lease expiry, ms
-- KEYS[3] scheduled  ZSET  job id -> due, ms
-- KEYS[4] deadlines  ZSET  job id -> expires, ms
-- KEYS[5] expired    ZSET  job id -> finished, ms
-- KEYS[6] meta       HASH  clock, counters, paused, limits
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] minute_prefix  + minute is a hash of counters
-- ARGV[4] limit          how many at most; 0 only promotes and expires
-- ARGV[5] lease_ms
-- ARGV[6] nonce          random; makes the tokens of this call impossible to guess or to repeat
-- ARGV[7] worker         who claims
-- ARGV[8] again          1 when a call with this nonce was sent before and its reply did not arrive: what that call
--                        claimed is given again, and only when it claimed nothing this call claims
--
-- Returns {paused (0 or 1), stamp, due_in_ms (-1: nothing is scheduled; 0: claim again), jobs...}: the jobs in the order
-- taken, each as id, token, attempt, crashes, kind, payload, crc, max_attempts, timeout_ms, created_ms, tags, request_id,
-- traceparent, all in one table: the server takes a buffer of 16 KiB for each table of a reply. The stamp is the queue's
-- clock after the call: a claim that found nothing lies between the operations of this stamp and the next.
local ready, running, scheduled, deadlines, expired, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local job_prefix, unique_prefix, minute_prefix = ARGV[1], ARGV[2], ARGV[3]
local limit, lease_ms, nonce, worker = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
local again = ARGV[8] == '1'
-- @include now
-- @include record
-- @include many
-- @include count
-- @include observe
-- @include wait_bounds
local EPOCH_MS, TICKS_PER_PRIORITY = 1767225600000, 562949953421312

local head = redis.call('HMGET', meta, 'clock', 'paused', 'paused_until', 'fair_every', 'claimed')
local clock, claimed = tonumber(whole(head[1])) or 0, tonumber(whole(head[5])) or 0
local fair_every = tonumber(whole(head[4])) or 0
local first_due = tonumber(redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2])
local first_deadline = tonumber(redis.call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')[2])
redis.call('ZCARD', running)
if first_deadline then redis.call('ZCARD', expired) end

-- Functions that few calls need are made when one does: each takes the server an allocation.
local function new_upkeep()
-- @include finish
-- @include expire
-- @include promote
  return { drop_expired = drop_expired, expire_due = expire_due, promote_due = promote_due }
end

local upkeep
if math.min(first_due or math.huge, first_deadline or math.huge) <= now_ms then
  redis.call('ZCARD', ready)
  upkeep = new_upkeep()
  upkeep.expire_due(20)
  upkeep.promote_due(200)
  first_due = tonumber(redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2])
end

local answer, leases, waits, taken = { 0, 0, 0 }, {}, {}, 0

local function reply(paused, is_more_ready)
  local due_in_ms = is_more_ready and 0 or first_due and math.max(0, first_due - now_ms) or -1
  answer[1], answer[2], answer[3] = paused, int(clock), due_in_ms
  return answer
end

-- Whether nobody could read a job: it stays as it is, in no set, for the audit to name.
local function is_damaged(job)
  local is_complete = job[5] and job[6] and whole(job[7]) and whole(job[8]) and whole(job[10])
  return not is_complete or (job[4] and not whole(job[4])) or (job[9] and not whole(job[9]))
end

local function hand_out(id, token, attempt, job)
  leases[#leases + 1], leases[#leases + 2] = now_ms + lease_ms, id
  local at = 3 + 13 * taken
  taken = taken + 1
  answer[at + 1], answer[at + 2], answer[at + 3], answer[at + 4] = id, token, attempt, tonumber(whole(job[14])) or 0
  for n = 5, 13 do answer[at + n] = job[n] end
end

if again then
  -- Its leases are among the last to end, so they are found among the thousand highest scores.
  for _, id in ipairs(redis.call('ZREVRANGE', running, 0, 999)) do
    local job = read(id, 'tk', 'u', 'a', 'k', 'p', 'c', 'm', 'l', 't', 'g', 'ri', 'tp', 'n')
    local token = job and job[1] == 'running' and job[2]
    if token and string.sub(token, -#nonce - 1) == '-' .. nonce and taken < 50 and not is_damaged(job) then
      hand_out(id, token, tonumber(job[4]), job)
    end
  end
  call_with_many('ZADD', running, leases)
  if taken > 0 then return reply(0) end
end

if head[2] then
  local over = tonumber(head[3])
  if not over or over > now_ms then return reply(1) end
  redis.call('HDEL', meta, 'paused', 'paused_until', 'paused_reason')
end

-- With fair_every every k-th is the oldest, so that they are taken one by one.
local function next_in_turn()
-- @include oldest
  local is_turn_of_oldest = (claimed + taken + 1) % fair_every == 0
  local id = is_turn_of_oldest and oldest_ready() or redis.call('ZREVRANGE', ready, 0, 0)[1]
  if not id then return {} end
  redis.call('ZREM', ready, id)
  return { id }
end

-- A round normally suffices; more are needed when a job taken turns out to be expired or damaged, and with fair_every.
for _ = 1, limit + 1000 do
  if taken >= limit then break end
  local ids = fair_every > 0 and next_in_turn() or redis.call('ZPOPMAX', ready, limit - taken)
  if #ids == 0 then break end
  for n = 1, #ids, 2 do
    local id = ids[n]
    local job = read(id, 'x', 'u', 'a', 'k', 'p', 'c', 'm', 'l', 't', 'g', 'ri', 'tp', 'n', 'o')
    if job and is_damaged(job) then job = nil end
    local expires = job and tonumber(whole(job[2]))
    if expires and expires <= now_ms then
      upkeep = upkeep or new_upkeep()
      upkeep.drop_expired(id, job[1], job[3])
    elseif job then
      if job[2] then redis.call('ZREM', deadlines, id) end
      clock = math.max(clock + 1, now_ticks)
      local token, attempt = int(clock) .. '-' .. nonce, (tonumber(job[4]) or 0) + 1
      if attempt == 1 and whole(job[15]) then
        local bucket = observe('wait', WAIT_BOUNDS_MS, now_ms - EPOCH_MS - tonumber(job[15]) % TICKS_PER_PRIORITY / 100)
        waits[bucket] = (waits[bucket] or 0) + 1
      end
      redis.call('HSET', job_prefix .. id, 's', 'running', 'a', attempt, 'tk', token, 'w', worker, 'st', now_ms)
      hand_out(id, token, attempt, job)
    end
  end
end
if taken > 0 then
  call_with_many('ZADD', running, leases)
  for bucket, n in pairs(waits) do count_in_minute(bucket, n) end
  add_up('clock', clock, 'claimed', claimed + taken)
end
return reply(0, limit > 0 and taken == 0 and redis.call('ZCARD', ready) > 0)
