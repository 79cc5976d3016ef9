-- Find the ready job that has waited longest, and the newest, over all priorities. Orders of one priority lie
-- together, so each priority in use costs one look-up. Returns id and place (ticks), nil when nothing is ready.
local TICKS_PER_PRIORITY = 562949953421312

local function oldest_ready()
  local from, oldest_id, oldest_ticks = 0, nil, nil
  for _ = 0, 9 do
    local found = redis.call('ZRANGEBYSCORE', ready, int(from), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not found[1] then break end
    local order = tonumber(found[2])
    local priority = math.floor(order / TICKS_PER_PRIORITY)
    local ticks = order - priority * TICKS_PER_PRIORITY
    if not oldest_ticks or ticks < oldest_ticks then oldest_id, oldest_ticks = found[1], ticks end
    from = (priority + 1) * TICKS_PER_PRIORITY
  end
  return oldest_id, oldest_ticks
end

local function newest_ready_ticks()
  local upto, newest = '+inf', nil
  for _ = 0, 9 do
    local found = redis.call('ZREVRANGEBYSCORE', ready, upto, 0, 'WITHSCORES', 'LIMIT', 0, 1)
    if not found[1] then break end
    local order = tonumber(found[2])
    local priority = math.floor(order / TICKS_PER_PRIORITY)
    newest = math.max(newest or 0, order - priority * TICKS_PER_PRIORITY)
    upto = '(' .. int(priority * TICKS_PER_PRIORITY)
  end
  return newest
end
