#!lua flags=allow-oom
-- Keep a worker's sign of life, or forget it; also forget workers that gave none for `forget_ms`.
--
-- KEYS[1] workers  HASH  worker -> `seen_ms|JSON`
-- ARGV[1] worker     who
-- ARGV[2] about      JSON; '' to forget this worker
-- ARGV[3] forget_ms
--
-- Returns how many workers are known now.
local workers = KEYS[1]
local worker, about, forget_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
-- @include now

local all, gone = redis.call('HGETALL', workers), {}
for at = 1, math.min(#all, 20000), 2 do
  local seen = tonumber(string.match(all[at + 1], '^%d+')) or 0
  if seen < now_ms - forget_ms and #gone < 100 then gone[#gone + 1] = all[at] end
end
if #gone > 0 then redis.call('HDEL', workers, unpack(gone)) end
if about == '' then
  redis.call('HDEL', workers, worker)
else
  redis.call('HSET', workers, worker, int(now_ms) .. '|' .. about)
end
return redis.call('HLEN', workers)
