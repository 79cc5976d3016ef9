-- Read fields of a job's record; nil when there is no record, or none that can be used.
local function read(id, ...)
  local values = redis.pcall('HMGET', job_prefix .. id, 's', ...)
  if values.err or not values[1] then return nil end
  return values
end
