local STATES = {
  scheduled = true, ready = true, running = true, retrying = true,
  succeeded = true, dead = true, cancelled = true, expired = true,
}

-- Read fields of a job's record; nil when there is no record, or none that can be used.
local function read(id, ...)
  local values = redis.pcall('HMGET', job_prefix .. id, 's', ...)
  if values.err or not STATES[values[1]] then return nil end
  return values
end

-- Return a field that is a whole number, and nil for any other: what a script computes with may be damaged.
local function whole(text)
  return text and #text < 17 and string.match(text, '^%d+$')
end
