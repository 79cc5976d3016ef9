-- Count how long things took, in a histogram: `<name>_<n>` says how many took up to the n-th bound (counted from 0; the
-- last is for beyond), `<name>_ms` is their sum. Returns the name of what was counted.
-- @include tally
local function observe(name, bounds_ms, ms)
  local n = 1
  while bounds_ms[n] and ms > bounds_ms[n] do n = n + 1 end
  local bucket = name .. '_' .. n - 1
  tally(bucket, 1)
  tally(name .. '_ms', math.max(0, math.floor(ms)))
  return bucket
end
