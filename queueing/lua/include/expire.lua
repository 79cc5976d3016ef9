-- Expire jobs that are not running and whose time to live is over, at most `limit`; returns how many.
local function drop_expired(id, state, unique)
  redis.call('ZREM', ready, id)
  redis.call('ZREM', scheduled, id)
  if state == 'retrying' then count('retrying', -1) end
  finish(id, 'expired', expired, unique, true)
  count_minute('expired', 1)
end

local function expire_due(limit)
  local ids = redis.call('ZRANGEBYSCORE', deadlines, '-inf', int(now_ms), 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    local job = read(id, 'u')
    if job and (job[1] == 'ready' or job[1] == 'scheduled' or job[1] == 'retrying') then
      drop_expired(id, job[1], job[2])
    else
      redis.call('ZREM', deadlines, id)
    end
  end
  return #ids
end
