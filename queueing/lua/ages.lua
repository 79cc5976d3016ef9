#!lua flags=no-writes
-- Count ready jobs by how long they have waited.
--
-- KEYS[1] ready  ZSET  job id -> order
-- ARGV[1...] bounds  ages in ms, ascending
--
-- Returns how many have waited up to the first bound, from there to the next, and so on; at the end, beyond the last.
local ready = KEYS[1]
local bounds = { unpack(ARGV) }
-- @include now
-- @include oldest

local counts = {}
for n = 1, #bounds + 1 do counts[n] = 0 end
for priority = 0, 9 do
  local from, to = priority * TICKS_PER_PRIORITY, (priority + 1) * TICKS_PER_PRIORITY
  local all = redis.call('ZCOUNT', ready, int(from), '(' .. int(to))
  local younger = 0
  for n = 1, all > 0 and #bounds or 0 do
    local since = math.max(from, from + now_ticks - tonumber(bounds[n]) * 100)
    local upto = redis.call('ZCOUNT', ready, int(since), '(' .. int(to))
    counts[n] = counts[n] + upto - younger
    younger = upto
  end
  counts[#bounds + 1] = counts[#bounds + 1] + all - younger
end
return counts
