#!lua flags=no-writes
-- Read the counters of the last minutes, as far as they are kept.
--
-- KEYS[1] meta  HASH  is there as soon as the queue was used
-- ARGV[1] minute_prefix  + minute is a hash of counters, + start where they stood when the queue's minute began
-- ARGV[2] minutes        how many, at most 1440; the last is the minute that runs
--
-- Returns {the first minute (since 1970), for each minute its counters as pairs}; no minutes for a queue never used.
local meta = KEYS[1]
local minute_prefix = ARGV[1]
local minutes = tonumber(ARGV[2])
-- @include now
-- @include whole
-- @include counters
local last = this_minute
local first = last - math.min(minutes, 1440) + 1
local figures = {}
if redis.call('EXISTS', meta) == 0 then return { int(first), figures } end
for minute = first, last do figures[#figures + 1] = counters_of(minute) end
return { int(first), figures }
