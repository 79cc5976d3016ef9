-- Move a job to a finished state and give up what it held. `unique` and `expires` are of its record.
local function give_up_unique(id, unique)
  if unique and redis.pcall('GET', unique_prefix .. unique) == id then
    redis.call('DEL', unique_prefix .. unique)
  end
end

local function finish(id, state, into, unique, expires)
  redis.call('HSET', job_prefix .. id, 's', state, 'f', int(now_ms))
  redis.call('ZADD', into, int(now_ms), id)
  give_up_unique(id, unique)
  if expires then redis.call('ZREM', deadlines, id) end
end
