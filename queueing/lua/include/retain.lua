-- Delete finished jobs past their retention, the oldest first, at most `limit`; returns how many. What the queue itself
-- says of a state goes before `keep_ms` and `keep_count`; where that is damaged it says nothing, for jobs have been
-- finished by now.
local function retain(state, finished, keep_ms, keep_count, limit)
  local own = redis.pcall('HMGET', meta, 'keep_' .. state .. '_ms', 'keep_' .. state .. '_count')
  keep_ms, keep_count = tonumber(whole(own[1])) or keep_ms, tonumber(whole(own[2])) or keep_count
  local surplus = math.min(limit, redis.call('ZCARD', finished) - keep_count)
  local ids = {}
  if surplus > 0 then
    ids = redis.call('ZRANGE', finished, 0, surplus - 1)
  else
    ids = redis.call('ZRANGEBYSCORE', finished, '-inf', int(now_ms - keep_ms), 'LIMIT', 0, limit)
  end
  if #ids == 0 then return 0 end
  for _, id in ipairs(ids) do
    redis.call('DEL', job_prefix .. id)
    redis.call('ZREM', finished, id)
  end
  count('pruned', #ids)
  return #ids
end
