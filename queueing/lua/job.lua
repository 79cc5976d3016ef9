#!lua flags=no-writes
-- Read one job as it is at this instant.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2] id
--
-- Returns {record as name, value pairs, due_ms (0 unless scheduled or retrying), position (0 unless ready)}; the record
-- is empty when there is no such job.
local ready, scheduled = KEYS[1], KEYS[2]
local job_prefix, id = ARGV[1], ARGV[2]
local record = redis.call('HGETALL', job_prefix .. id)
local rank = redis.call('ZREVRANK', ready, id)
return { record, redis.call('ZSCORE', scheduled, id) or '0', rank and rank + 1 or 0 }
