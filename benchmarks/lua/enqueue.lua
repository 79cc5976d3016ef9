#!lua
-- Store one job: the least a queue can do that keeps a record and wakes an idle worker.
--
-- KEYS[1] ready     ZSET    job id -> order; the highest score is claimed first
-- KEYS[2] sequence  STRING  the last order given
-- KEYS[3] wake      LIST    hints for idle workers
-- KEYS[4] job       HASH    the record
-- ARGV[1] id
-- ARGV[2] payload
--
-- Returns the order.
local ready, sequence, wake, job = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, payload = ARGV[1], ARGV[2]
local order = redis.call('INCR', sequence)
redis.call('HSET', job, 'state', 'ready', 'kind', 'noop', 'payload', payload, 'order', order)
redis.call('ZADD', ready, order, id)
if redis.call('LLEN', wake) < 16 then redis.call('LPUSH', wake, 1) end
return order
