#!lua flags=allow-oom
-- Stop claims of a queue; jobs are still accepted, and what runs goes on.
--
-- KEYS[1] meta  HASH  paused, paused_until, paused_reason
-- ARGV[1] reason    why, for people; may be ''
-- ARGV[2] until_ms  when claims go on by themselves, 0 for never
--
-- Returns 1.
local meta = KEYS[1]
local reason, until_ms = ARGV[1], ARGV[2]
redis.call('HDEL', meta, 'paused_until')
redis.call('HSET', meta, 'paused', 1, 'paused_reason', reason)
if until_ms ~= '0' then redis.call('HSET', meta, 'paused_until', until_ms) end
return 1
