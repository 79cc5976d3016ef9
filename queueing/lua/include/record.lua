-- Read fields of a job's record; nil when there is no record, or none that can be used.
local function read(id, ...)
  local values = redis.pcall('HMGET', job_prefix .. id, 's', ...)
  local state = values[1]
  local is_known = state == 'ready' or state == 'running' or state == 'scheduled' or state == 'retrying'
    or state == 'succeeded' or state == 'dead' or state == 'cancelled' or state == 'expired'
  return is_known and values or nil
end
