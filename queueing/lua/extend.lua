#!lua flags=allow-oom
-- Push leases forward, keep what handlers report of their progress, and tell who was cancelled.
--
-- KEYS[1] running  ZSET  job id -> lease expiry, ms
-- KEYS[2] meta     HASH  counters
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] lease_ms    from now
-- ARGV[3...] leases   for each: id, token, progress as JSON ('' for none)
--
-- Returns for each lease 1 (extended), 2 (extended, and cancel is requested) or 0 (lost, nothing was changed).
local running, meta = KEYS[1], KEYS[2]
local job_prefix, lease_ms = ARGV[1], tonumber(ARGV[2])
-- @include now
-- @include whole
-- @include count
-- @include record

redis.call('ZCARD', running)
local replies, stale = {}, 0
for at = 3, #ARGV, 3 do
  local id, progress = ARGV[at], ARGV[at + 2]
  local job = read(id, 'tk', 'cx')
  if job and job[1] == 'running' and job[2] == ARGV[at + 1] then
    redis.call('ZADD', running, int(now_ms + lease_ms), id)
    if progress ~= '' then redis.call('HSET', job_prefix .. id, 'pg', progress) end
    replies[#replies + 1] = job[3] and 2 or 1
  else
    stale = stale + 1
    replies[#replies + 1] = 0
  end
end
count('stale', stale)
return replies
