-- Count how long things took, in histograms: `<name>_<n>` says how many took up to the n-th bound (the number of bounds
-- stands for beyond), `<name>_ms` is their sum. What is observed is counted by `count_observed`, once a call.
local BOUNDS_MS = {
  wait = { 100, 500, 1000, 5000, 15000, 60000, 300000, 900000, 3600000, 21600000 },
  run = { 10, 50, 100, 500, 1000, 5000, 15000, 60000, 300000, 900000 },
}
local observed = {}

local function observe(name, ms)
  ms = math.max(0, math.floor(ms))
  local bucket = 0
  for _, bound in ipairs(BOUNDS_MS[name]) do
    if ms > bound then bucket = bucket + 1 end
  end
  bucket = name .. '_' .. bucket
  observed[bucket] = (observed[bucket] or 0) + 1
  observed[name .. '_ms'] = (observed[name .. '_ms'] or 0) + ms
end

local function count_observed(add)
  for name, n in pairs(observed) do add(name, n) end
end
