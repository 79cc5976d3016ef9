#!lua
-- Store whole jobs as they were elsewhere, each at its place; one that is here already is left alone.
--
-- KEYS[1] ready      ZSET  job id -> order
-- KEYS[2] scheduled  ZSET  job id -> due, ms
-- KEYS[3] running    ZSET  job id -> lease expiry, ms
-- KEYS[4] deadlines  ZSET  job id -> expires, ms
-- KEYS[5] succeeded  ZSET  job id -> finished, ms
-- KEYS[6] dead       ZSET  job id -> finished, ms
-- KEYS[7] cancelled  ZSET  job id -> finished, ms
-- KEYS[8] expired    ZSET  job id -> finished, ms
-- KEYS[9] meta       HASH  clock, generation, retrying
-- KEYS[10] wake      LIST  hints for idle workers
-- ARGV[1] job_prefix     + id is the record of a job
-- ARGV[2] unique_prefix  + digest is the id of the job that holds a unique key
-- ARGV[3] generation     random; kept as the queue's generation if it has none
-- ARGV[4...] jobs        for each: id, state, score in the set of its state, expires_ms or '', unique digest or '', number
--                        of fields of the record that follow, at most 50, then these fields as name, value
--
-- Returns for each job 'stored', 'exists', or 'unique' when another live job holds its unique key: it was not stored.
local ready, scheduled, running, deadlines = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local succeeded, dead, cancelled, expired = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local meta, wake = KEYS[9], KEYS[10]
local job_prefix, unique_prefix = ARGV[1], ARGV[2]
local generation = ARGV[3]
-- @include whole
-- @include record
-- @include wake
local HOME = {
  ready = ready, scheduled = scheduled, retrying = scheduled, running = running,
  succeeded = succeeded, dead = dead, cancelled = cancelled, expired = expired,
}
local WAITING = { ready = true, scheduled = true, retrying = true }
local LIVE = { ready = true, scheduled = true, retrying = true, running = true }

for _, set in pairs(HOME) do redis.call('ZCARD', set) end
redis.call('ZCARD', deadlines)
redis.call('LLEN', wake)
redis.call('HSETNX', meta, 'generation', generation)

local function is_held_by_another(unique)
  local id = redis.pcall('GET', unique_prefix .. unique)
  local holder = type(id) == 'string' and read(id)
  return holder and LIVE[holder[1]]
end

local function store(id, state, score, expires, unique, from, upto)
  if redis.call('EXISTS', job_prefix .. id) == 1 then return 'exists' end
  local holds = unique ~= '' and LIVE[state]
  if holds and is_held_by_another(unique) then return 'unique' end
  redis.call('HSET', job_prefix .. id, unpack(ARGV, from, upto))
  redis.call('ZADD', HOME[state], score, id)
  if expires ~= '' and WAITING[state] then redis.call('ZADD', deadlines, expires, id) end
  if holds then redis.call('SET', unique_prefix .. unique, id) end
  if state == 'retrying' then redis.pcall('HINCRBY', meta, 'retrying', 1) end
  if state == 'ready' then wake_one() end
  return 'stored'
end

local outcomes = {}
local at = 4
while at <= #ARGV do
  local width = tonumber(ARGV[at + 5])
  outcomes[#outcomes + 1] =
    store(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], at + 6, at + 5 + 2 * width)
  at = at + 6 + 2 * width
end
return outcomes
