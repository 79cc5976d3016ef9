-- Add to a counter of the queue. A counter that is damaged is passed over: it must not end a script half-way.
local function count(name, n)
  if n ~= 0 then redis.pcall('HINCRBY', meta, name, n) end
end

-- Let a minute begin, if it has not, before something is counted in it: what was counted in the last one goes to that
-- minute's own counters, which are kept for 25 hours, and where the counters of the queue stand is noted. So nothing but
-- these is written for each job.
local function begin_minute()
  if tonumber(redis.pcall('HGET', meta, 'minute')) == this_minute then return end
-- @include counted
  local minute, sums, stands = counted_since_minute()
  for name, n in pairs(sums) do redis.pcall('HINCRBY', minute_prefix .. int(minute), name, n) end
  if minute then redis.call('EXPIRE', minute_prefix .. int(minute), 90000) end
  local start, fields = minute_prefix .. 'start', { 'minute', this_minute }
  for name, n in pairs(stands) do fields[#fields + 1], fields[#fields + 2] = name, int(n) end
  redis.call('DEL', start)
  redis.call('HSET', start, unpack(fields))
  redis.pcall('HSET', meta, 'minute', this_minute)
end

local function count_minute(name, n)
  if n == 0 then return end
  begin_minute()
  count(name, n)
end
