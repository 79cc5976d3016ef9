-- Return the number of the count in a histogram that `ms` belongs to: it says how many took up to that bound (counted
-- from 0), the last is for what took longer than all bounds.
local function bucket_of(bounds_ms, ms)
  local n = 1
  while bounds_ms[n] and ms > bounds_ms[n] do n = n + 1 end
  return n - 1
end
