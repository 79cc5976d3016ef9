-- Count how long things took, in a histogram: `<name>_<n>` says how many took up to the n-th bound (counted from 0; the
-- last is for beyond), `<name>_ms` is their sum. What is observed is counted by `count_observed`, once a call, with `add`
-- for the buckets: `count` or `count_minute`.
local BOUNDS_MS = {
  wait = { 100, 500, 1000, 5000, 15000, 60000, 300000, 900000, 3600000, 21600000 },
  run = { 10, 50, 100, 500, 1000, 5000, 15000, 60000, 300000, 900000 },
}
local observed, observed_ms = {}, 0

local function observe(bounds, ms)
  local n = 1
  while bounds[n] and ms > bounds[n] do n = n + 1 end
  observed[n - 1] = (observed[n - 1] or 0) + 1
  observed_ms = observed_ms + math.max(0, math.floor(ms))
end

local function count_observed(name, add)
  for bucket, n in pairs(observed) do add(name .. '_' .. bucket, n) end
  count(name .. '_ms', observed_ms)
end
