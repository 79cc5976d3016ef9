-- The counters of a queue that are also told minute by minute.
local COUNTED = {
  'submitted', 'succeeded', 'failed', 'dead', 'reaped', 'expired', 'cancelled', 'wait_0', 'wait_1', 'wait_2', 'wait_3',
  'wait_4', 'wait_5', 'wait_6', 'wait_7', 'wait_8', 'wait_9', 'wait_10',
}
-- What was counted since the queue's minute began: where its counters stand, less where they stood then. Returns that
-- minute (nil: none has begun), the sums by name, and where the counters stand. A counter that is damaged is passed over.
local function counted_since_minute()
  local stands = redis.pcall('HMGET', meta, 'minute', unpack(COUNTED))
  local stood = redis.pcall('HMGET', minute_prefix .. 'start', 'minute', unpack(COUNTED))
  local is_known = whole(stands[1]) and stands[1] == stood[1]
  local sums, now = {}, {}
  for n, name in ipairs(COUNTED) do
    local from, upto = tonumber(whole(stood[n + 1])), tonumber(whole(stands[n + 1] or '0'))
    now[name] = upto
    if is_known and from and upto and upto > from then sums[name] = upto - from end
  end
  return is_known and tonumber(stands[1]), sums, now
end
