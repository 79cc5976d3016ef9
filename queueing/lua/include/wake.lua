-- Leave a hint that wakes an idle worker. Hints carry no job; sixteen are plenty.
local function wake_one()
  if redis.call('LLEN', wake) < 16 then redis.call('LPUSH', wake, 1) end
end
