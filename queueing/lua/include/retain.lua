-- Delete jobs of the set `finished` that are past their retention, the oldest first, at most `limit`; `pruned` is how many
-- that were. `stored` is how many there are, `own` what the queue itself says of the state, {ms, count}: it goes before
-- `keep_ms` and `keep_count`, unless it is damaged.
local surplus = math.min(limit, stored - (tonumber(whole(own[2])) or keep_count))
local outdated = {}
if surplus > 0 then
  for n, id_or_score in ipairs(redis.call('ZPOPMIN', finished, surplus)) do
    if n % 2 == 1 then outdated[#outdated + 1] = id_or_score end
  end
else
  local until_ms = now_ms - (tonumber(whole(own[1])) or keep_ms)
  outdated = redis.call('ZRANGEBYSCORE', finished, '-inf', until_ms, 'LIMIT', 0, limit)
  for first = 1, #outdated, 100 do
    redis.call('ZREM', finished, unpack(outdated, first, math.min(first + 99, #outdated)))
  end
end
for _, id in ipairs(outdated) do redis.call('DEL', job_prefix .. id) end
local pruned = #outdated
