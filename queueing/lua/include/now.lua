-- The server's clock, read once: now_ms and this_minute since 1970 UTC, now_ticks of 10 us since 2026-01-01 UTC.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now_ticks = (time[1] - 1767225600) * 100000 + math.floor(time[2] / 10)
local this_minute = math.floor(time[1] / 60)

local function int(number)
  return string.format('%.0f', number)
end
