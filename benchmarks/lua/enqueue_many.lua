#!lua
-- Store many jobs in one call.
--
-- KEYS[1] ready     ZSET    job id -> order; the highest score is claimed first
-- KEYS[2] sequence  STRING  the last order given
-- KEYS[3] wake      LIST    hints for idle workers
-- ARGV[1] job_prefix  + id is the record of a job
-- ARGV[2...] jobs     for each: id, payload
--
-- Returns the last order.
local ready, sequence, wake = KEYS[1], KEYS[2], KEYS[3]
local job_prefix = ARGV[1]
local count = (#ARGV - 1) / 2
local order = redis.call('INCRBY', sequence, count) - count
for n = 2, #ARGV, 2 do
  order = order + 1
  redis.call('HSET', job_prefix .. ARGV[n], 'state', 'ready', 'kind', 'noop', 'payload', ARGV[n + 1], 'order', order)
  redis.call('ZADD', ready, order, ARGV[n])
end
if redis.call('LLEN', wake) < 16 then redis.call('LPUSH', wake, 1) end
return order
