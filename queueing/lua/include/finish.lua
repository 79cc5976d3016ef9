-- Move a job to a finished state and give up what it held. `unique` and `expires` are of its record.
-- @include unique
local function finish(id, state, into, unique, expires)
  redis.call('HSET', job_prefix .. id, 's', state, 'f', int(now_ms))
  redis.call('ZADD', into, int(now_ms), id)
  give_up_unique(id, unique)
  if expires then redis.call('ZREM', deadlines, id) end
end
