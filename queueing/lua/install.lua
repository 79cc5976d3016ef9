#!lua flags=allow-oom
-- Show what a restore has written of a queue, all of it at once.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] running    ZSET  job id -> lease expiry, ms
-- KEYS[4] deadlines  ZSET  job id -> expires, ms
-- KEYS[5] succeeded  ZSET  job id -> finished, ms
-- KEYS[6] dead       ZSET  job id -> finished, ms
-- KEYS[7] cancelled  ZSET  job id -> finished, ms
-- KEYS[8] expired    ZSET  job id -> finished, ms
-- KEYS[9] runs       LIST  JSON of runs that ended
-- KEYS[10] meta      HASH  clock, counters, paused, limits, generation
-- ARGV[1] staging_prefix  + name of one of these keys is where it was written
-- ARGV[2] backup          which one it is; kept in meta, so that the same is not shown again
-- ARGV[3] generation      random; the queue's new one, because its counters have gone back
--
-- Returns 'shown', also when the same backup was before; 'used' when the queue has jobs or a clock of its own: nothing
-- was changed.
local ready, scheduled, running, deadlines = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local succeeded, dead, cancelled, expired = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local runs, meta = KEYS[9], KEYS[10]
local staging_prefix, backup, generation = ARGV[1], ARGV[2], ARGV[3]
local PLACES = {
  ready = ready, scheduled = scheduled, running = running, deadlines = deadlines,
  succeeded = succeeded, dead = dead, cancelled = cancelled, expired = expired, runs = runs, meta = meta,
}

if redis.pcall('HGET', meta, 'restored') == backup then return 'shown' end
for _, place in pairs(PLACES) do
  if redis.call('EXISTS', place) == 1 then return 'used' end
end
for name, place in pairs(PLACES) do
  if redis.call('EXISTS', staging_prefix .. name) == 1 then redis.call('RENAME', staging_prefix .. name, place) end
end
redis.call('HSET', meta, 'restored', backup)
if redis.call('HEXISTS', meta, 'generation') == 1 then redis.call('HSET', meta, 'generation', generation) end
return 'shown'
