-- Write counters of the queue: `names` are those that were read, `found` what they were, `sums` what is added to some of
-- them, `fields` further fields as name and value. A counter that is damaged is passed over.
for n, name in ipairs(names) do
  local before = sums[name] and whole(found[n] or '0')
  if before then fields[#fields + 1], fields[#fields + 2] = name, tonumber(before) + sums[name] end
end
redis.pcall('HSET', meta, unpack(fields))
