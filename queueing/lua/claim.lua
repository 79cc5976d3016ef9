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
-- @include whole
-- @include bucket
-- @include wait_bounds
local EPOCH_MS, TICKS_PER_PRIORITY = 1767225600000, 562949953421312

local head = redis.call('HMGET', meta, 'clock', 'paused', 'paused_until', 'fair_every', 'claimed', 'minute')
local clock, claimed = tonumber(whole(head[1])) or 0, tonumber(whole(head[5])) or 0
local fair_every = tonumber(whole(head[4])) or 0
redis.call('ZCARD', running)

local first_due, first_deadline
if redis.call('EXISTS', scheduled, deadlines) > 0 then
  first_due = tonumber(redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2])
  first_deadline = tonumber(redis.call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')[2])
  if first_deadline then redis.call('ZCARD', expired) end
end
local is_due = math.min(first_due or math.huge, first_deadline or math.huge) <= now_ms

-- Functions that few calls need are made when one does: each takes the server an allocation, and one for each name in it.
local upkeep
if is_due or tonumber(head[6]) ~= this_minute then
-- @include record
-- @include count
-- @include finish
-- @include expire
-- @include promote
  upkeep = { begin_minute = begin_minute, drop_expired = drop_expired }
  if is_due then
    redis.call('ZCARD', ready)
    expire_due(20)
    promote_due(200)
    first_due = tonumber(redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2])
  end
end
local due_in_ms = first_due and math.max(0, first_due - now_ms) or -1

-- What an earlier call with this nonce claimed. Its leases are among the last to end, so they are found among the
-- thousand highest scores.
local told, tokens = {}, {}
if again then
  for _, id in ipairs(redis.call('ZREVRANGE', running, 0, 999)) do
    local job = redis.pcall('HMGET', job_prefix .. id, 's', 'tk')
    local is_ours = job[1] == 'running' and job[2] and string.sub(job[2], -#nonce - 1) == '-' .. nonce
    if is_ours and #told < 100 then told[#told + 1], told[#told + 2], tokens[id] = id, '', job[2] end
  end
end
local is_told = #told > 0

if head[2] and not is_told then
  local over = tonumber(head[3])
  if not over or over > now_ms then return { 1, int(clock), due_in_ms } end
  redis.call('HDEL', meta, 'paused', 'paused_until', 'paused_reason')
end

local answer, leases, taken = { 0, 0, 0 }, {}, 0
local names, sums, fields = {}, {}, {}
-- A round normally suffices; more are needed when a job taken turns out to be expired or damaged, and with fair_every.
for _ = 1, limit + 1000 do
  local ids = told
  if not is_told then
    if taken >= limit then break end
    if fair_every > 0 then -- every k-th is the oldest, so that they are taken one by one
-- @include oldest
      local is_turn_of_oldest = (claimed + taken + 1) % fair_every == 0
      ids = { is_turn_of_oldest and oldest_ready() or redis.call('ZREVRANGE', ready, 0, 0)[1] }
      if ids[1] then redis.call('ZREM', ready, ids[1]) end
    else
      ids = redis.call('ZPOPMAX', ready, limit - taken)
    end
  end
  if #ids == 0 then break end
  for n = 1, #ids, 2 do
    local id = ids[n]
    local token, record = tokens[id], job_prefix .. id
    local job = redis.pcall('HMGET', record, 's', 'x', 'u', 'a', 'k', 'p', 'c', 'm', 'l', 't', 'g', 'ri', 'tp', 'n', 'o')
    -- What nobody could read stays as it is, in no set, for the audit to name; so does what has expired though no
    -- deadline says so.
    local is_fit = (token or job[1] == 'ready') and job[5] and job[6] and whole(job[7]) and whole(job[8])
      and whole(job[10]) and (not job[4] or whole(job[4])) and (not job[9] or whole(job[9]))
    local expires, attempt = is_fit and tonumber(whole(job[2])), is_fit and tonumber(job[4]) or 0
    if is_fit and not token and expires and expires <= now_ms then
      if is_due then upkeep.drop_expired(id, job[1], job[3]) end
    elseif is_fit then
      if not token then
        if job[2] then redis.call('ZREM', deadlines, id) end
        clock, attempt = math.max(clock + 1, now_ticks), attempt + 1
        token = int(clock) .. '-' .. nonce
        if attempt == 1 and whole(job[15]) then
          local waited_ms = now_ms - EPOCH_MS - tonumber(job[15]) % TICKS_PER_PRIORITY / 100
          local bucket = 'wait_' .. bucket_of(WAIT_BOUNDS_MS, waited_ms)
          if not sums[bucket] then names[#names + 1] = bucket end
          sums[bucket] = (sums[bucket] or 0) + 1
          sums.wait_ms = (sums.wait_ms or 0) + math.max(0, math.floor(waited_ms))
        end
        redis.call('HSET', record, 's', 'running', 'a', attempt, 'tk', token, 'w', worker, 'st', now_ms)
      end
      leases[#leases + 1], leases[#leases + 2] = now_ms + lease_ms, id
      local at = 3 + 13 * taken
      taken = taken + 1
      answer[at + 1], answer[at + 2], answer[at + 3], answer[at + 4] = id, token, attempt, tonumber(whole(job[14])) or 0
      for part = 5, 13 do answer[at + part] = job[part] end
    end
  end
  if is_told then break end
end
for first = 1, #leases, 100 do
  redis.call('ZADD', running, unpack(leases, first, math.min(first + 99, #leases)))
end
if taken > 0 and not is_told then
  if upkeep then upkeep.begin_minute() end
  names[#names + 1] = 'wait_ms'
  local found = redis.pcall('HMGET', meta, unpack(names))
  fields[1], fields[2], fields[3], fields[4] = 'clock', clock, 'claimed', claimed + taken
-- @include sums
end
local is_more_ready = limit > 0 and taken == 0 and redis.call('ZCARD', ready) > 0
answer[2], answer[3] = int(clock), is_more_ready and 0 or due_in_ms
return answer
