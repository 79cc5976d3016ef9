-- Give up the unique key of a job, whose digest is in its record, unless another job holds it by now.
local function give_up_unique(id, unique)
  if unique and redis.pcall('GET', unique_prefix .. unique) == id then
    redis.call('DEL', unique_prefix .. unique)
  end
end
