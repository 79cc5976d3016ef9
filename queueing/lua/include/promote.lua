-- Make due jobs ready, each at the place it got when it was submitted: the ones due last come first, because they
-- are the newest. At most `limit`; returns how many.
local function promote_due(limit)
  local ids = redis.call('ZREVRANGEBYSCORE', scheduled, int(now_ms), '-inf', 'LIMIT', 0, limit)
  local promoted, retried = 0, 0
  for _, id in ipairs(ids) do
    local job = read(id, 'o')
    redis.call('ZREM', scheduled, id)
    if job and whole(job[2]) then
      if job[1] == 'retrying' then retried = retried + 1 end
      redis.call('HSET', job_prefix .. id, 's', 'ready')
      redis.call('ZADD', ready, job[2], id)
      promoted = promoted + 1
    end
  end
  if retried > 0 then redis.pcall('HINCRBY', meta, 'retrying', -retried) end
  return promoted
end
