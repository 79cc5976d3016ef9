-- Finish attempts that succeeded, each {id, token, result}, keeping their results; returns for each 1 (succeeded, also
-- when the same token said so before) or 0 (the lease is lost, nothing was changed). `own` is the retention of the queue.
-- @include retain
local function succeed(attempts, own)
  local replies, held, seen = {}, {}, {}
  for n, attempt in ipairs(attempts) do
    local id, token = attempt[1], attempt[2]
    local job = read(id, 'tk', 'u', 'st')
    local holds = job and job[2] == token
    if holds and job[1] == 'running' and not seen[id] then
      seen[id] = true
      held[#held + 1] = { id = id, result = attempt[3], unique = job[3], started = whole(job[4]) }
    elseif not (holds and (job[1] == 'succeeded' or seen[id])) then
      tally('stale', 1)
      holds = false
    end
    replies[n] = holds and 1 or 0
  end
  if #held == 0 then return replies end
  local ids, entries = {}, {}
  for n, job in ipairs(held) do
    ids[n], entries[2 * n - 1], entries[2 * n] = job.id, now_ms, job.id
    if job.result == '' then
      redis.call('HSET', job_prefix .. job.id, 's', 'succeeded', 'f', now_ms)
    else
      redis.call('HSET', job_prefix .. job.id, 's', 'succeeded', 'f', now_ms, 'r', job.result)
    end
    give_up_unique(job.id, job.unique)
    if job.started then observe('run', now_ms - tonumber(job.started)) end
  end
  call_with_many('ZREM', running, ids)
  call_with_many('ZADD', succeeded, entries)
  tally('succeeded', #held)
  count_in_minute('succeeded', #held)
  tally('pruned', retain(succeeded, own, 2 * #held))
  return replies
end
