-- Count how long things took, in a histogram: `<name>_<n>` says how many took up to the n-th bound (counted from 0; the
-- last is for beyond), `<name>_ms` is their sum. Returns the name of what was counted.
-- @include tally
local BOUNDS_MS = {
  wait = { 100, 500, 1000, 5000, 15000, 60000, 300000, 900000, 3600000, 21600000 },
  run = { 10, 50, 100, 500, 1000, 5000, 15000, 60000, 300000, 900000 },
}

local function observe(name, ms)
  local bounds, n = BOUNDS_MS[name], 1
  while bounds[n] and ms > bounds[n] do n = n + 1 end
  local bucket = name .. '_' .. n - 1
  tally(bucket, 1)
  tally(name .. '_ms', math.max(0, math.floor(ms)))
  return bucket
end
