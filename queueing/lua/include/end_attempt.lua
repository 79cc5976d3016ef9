-- End an attempt that did not succeed: write it into the job's history, of which the last 20 attempts are kept.
local function end_attempt(id, attempt, started, worker, outcome, error)
  local from = whole(started) or int(now_ms)
  local text = from .. '|' .. int(now_ms) .. '|' .. outcome .. '|' .. (worker or '') .. '|' .. error
  redis.call('HSET', job_prefix .. id, 'h' .. attempt, text)
  if attempt > 20 then redis.call('HDEL', job_prefix .. id, 'h' .. (attempt - 20)) end
  redis.call('ZREM', running, id)
end
