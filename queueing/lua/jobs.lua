#!lua flags=no-writes
-- Read whole jobs, each as it is at this instant.
--
-- KEYS[1] scheduled  ZSET  job id -> due, ms; scheduled and retrying
-- KEYS[2] running    ZSET  job id -> lease expiry, ms
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2...] ids      at most 100
--
-- Returns for each {id, record as name, value pairs, due or lease expiry (ms, '' unless it is in one of these sets)}; the
-- record is empty when there is no such job, and nil when what is there is no record.
local scheduled, running = KEYS[1], KEYS[2]
local job_prefix = ARGV[1]
local jobs = {}
for at = 2, #ARGV do
  local id = ARGV[at]
  local score = redis.call('ZSCORE', scheduled, id) or redis.call('ZSCORE', running, id) or ''
  local record = redis.pcall('HGETALL', job_prefix .. id)
  jobs[#jobs + 1] = { id, not record.err and record, score }
end
return jobs
