#!lua flags=allow-oom
-- Take over a queue from elsewhere before its jobs are imported: its clock, and what it allows unless it was used here.
--
-- KEYS[1] meta  HASH  clock, generation, paused, limits
-- ARGV[1] generation   random; kept as the queue's generation if it has none
-- ARGV[2] clock        ticks; what was given out there lies before it
-- ARGV[3...] settings  name, value pairs: limits, and paused with its reason and end
--
-- Returns 1; 0 when the queue was used here before and so keeps its own limits and pause.
local meta = KEYS[1]
local generation, clock = ARGV[1], ARGV[2]

local own = redis.call('HMGET', meta, 'clock', 'generation')
if (tonumber(own[1]) or 0) < tonumber(clock) then redis.call('HSET', meta, 'clock', clock) end
if own[2] then return 0 end
redis.call('HSET', meta, 'generation', generation)
for at = 3, #ARGV, 2 do redis.call('HSETNX', meta, ARGV[at], ARGV[at + 1]) end
return 1
