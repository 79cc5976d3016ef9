-- Add to several counters of the queue at once: `tally` notes what is to be added, `add_up` writes it, and further fields
-- of the queue given as name and value. A counter that is damaged is passed over.
local sums = {}

local function tally(name, n)
  if n ~= 0 then sums[name] = (sums[name] or 0) + n end
end

local function add_up(...)
  local names, fields = {}, { ... }
  for name in pairs(sums) do names[#names + 1] = name end
  local found = #names > 0 and redis.pcall('HMGET', meta, unpack(names)) or {}
  for n, name in ipairs(names) do
    local before = whole(found[n] or '0')
    if before then fields[#fields + 1], fields[#fields + 2] = name, tonumber(before) + sums[name] end
  end
  if #fields > 0 then redis.pcall('HSET', meta, unpack(fields)) end
end
