-- Return the counters of a minute as pairs: what is noted of it and, if the queue is still in it, what was counted since.
-- @include counted
local queue_minute, since = counted_since_minute()

local function counters_of(minute)
  local noted = redis.call('HGETALL', minute_prefix .. int(minute))
  if minute ~= queue_minute then return noted end
  for n = 1, #noted, 2 do since[noted[n]] = (since[noted[n]] or 0) + (tonumber(whole(noted[n + 1])) or 0) end
  local counters = {}
  for name, n in pairs(since) do counters[#counters + 1], counters[#counters + 2] = name, int(n) end
  return counters
end
