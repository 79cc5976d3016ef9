-- Delete finished jobs past their retention, the oldest first, at most `limit`; returns how many. `stored` is how many
-- there are, `own` what the queue itself says of the state, {ms, count}: it goes before `keep_ms` and `keep_count`, unless
-- it is damaged.
-- @include many
local function retain(finished, stored, own, limit)
  local ms, most = tonumber(whole(own[1])) or keep_ms, tonumber(whole(own[2])) or keep_count
  local surplus = math.min(limit, stored - most)
  local ids = {}
  if surplus > 0 then
    for n, id_or_score in ipairs(redis.call('ZPOPMIN', finished, surplus)) do
      if n % 2 == 1 then ids[#ids + 1] = id_or_score end
    end
  else
    ids = redis.call('ZRANGEBYSCORE', finished, '-inf', now_ms - ms, 'LIMIT', 0, limit)
    call_with_many('ZREM', finished, ids)
  end
  for _, id in ipairs(ids) do redis.call('DEL', job_prefix .. id) end
  return #ids
end
