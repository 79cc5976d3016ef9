#!lua flags=allow-oom
-- Let claims of a paused queue go on.
--
-- KEYS[1] meta  HASH  paused, paused_until, paused_reason
-- KEYS[2] wake  LIST  hints for idle workers
--
-- Returns 1 when the queue was paused, else 0.
local meta, wake = KEYS[1], KEYS[2]
-- @include wake
redis.call('LLEN', wake)
local was_paused = redis.call('HDEL', meta, 'paused', 'paused_until', 'paused_reason') > 0
if was_paused then wake_one() end
return was_paused and 1 or 0
