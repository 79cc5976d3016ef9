#!lua flags=no-writes
-- Read the figures of a queue as they are at this instant.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms; scheduled and retrying
-- KEYS[3] running    ZSET  job id -> lease expiry, ms
-- KEYS[4] succeeded  ZSET  job id -> finished, ms
-- KEYS[5] dead       ZSET  job id -> finished, ms
-- KEYS[6] cancelled  ZSET  job id -> finished, ms
-- KEYS[7] expired    ZSET  job id -> finished, ms
-- KEYS[8] meta       HASH  counters, paused, limits
-- KEYS[9] workers    HASH  worker -> JSON
-- ARGV[1] minute_prefix  + minute is a hash of counters, + start where they stood when the queue's minute began
--
-- Returns {now_ms, counts of ready, scheduled with retrying, running, succeeded, dead, cancelled and expired, oldest place
-- of a ready job (ticks, -1: none), newest place, meta as pairs, counters of the last full minute as pairs, workers as
-- pairs, for how long the lease that ended first is over (ms, 0: none is)}.
local ready, scheduled, running, succeeded, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local cancelled, expired, meta, workers = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local minute_prefix = ARGV[1]
-- @include now
-- @include oldest
-- @include whole
-- @include counters
local counts = {}
for n, set in ipairs({ ready, scheduled, running, succeeded, dead, cancelled, expired }) do
  counts[n] = redis.call('ZCARD', set)
end
local _, oldest = oldest_ready()
local first_end = tonumber(redis.call('ZRANGE', running, 0, 0, 'WITHSCORES')[2])
return {
  int(now_ms), counts, int(oldest or -1), int(newest_ready_ticks() or -1),
  redis.call('HGETALL', meta), counters_of(this_minute - 1), redis.call('HGETALL', workers),
  int(math.max(0, now_ms - (first_end or now_ms))),
}
