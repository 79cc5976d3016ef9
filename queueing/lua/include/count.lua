-- Add to a counter of the queue, and to the same counter of this minute, which is kept for 25 hours. A counter that is
-- damaged is passed over: it must not end a script half-way.
local function count(name, n)
  if n ~= 0 then redis.pcall('HINCRBY', meta, name, n) end
end

local function count_in_minute(name, n)
  local minute = minute_prefix .. int(math.floor(now_ms / 60000))
  if redis.pcall('HINCRBY', minute, name, n) == n then redis.call('EXPIRE', minute, 90000) end
end

local function count_minute(name, n)
  if n == 0 then return end
  count(name, n)
  count_in_minute(name, n)
end
