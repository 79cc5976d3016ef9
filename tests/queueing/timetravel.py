"""Let time pass for a queue without waiting: everything it has stored is moved back by as much."""

from __future__ import annotations

import time

from redis import Redis

from queueing.jobs import TICKS_PER_MS
from queueing.keys import queue_keys

MINUTE_MS = 60_000

_MOVE_BACK = """
local root, ms = ARGV[1], tonumber(ARGV[2])
local function int(number) return string.format('%.0f', number) end
local function move_set(name, by)
  for _, id in ipairs(redis.call('ZRANGE', root .. name, 0, -1)) do
    redis.call('ZINCRBY', root .. name, int(-by), id)
  end
end
local function move_field(key, field, by)
  if redis.call('HEXISTS', key, field) == 1 then redis.call('HINCRBY', key, field, int(-by)) end
end
local function move_history(key)
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.match(field, '^h%d+$') then
      local from, to, rest = string.match(redis.call('HGET', key, field), '^(%d+)|(%d+)(|.*)$')
      redis.call('HSET', key, field, int(from - ms) .. '|' .. int(to - ms) .. rest)
    end
  end
end
for _, name in ipairs({ 'scheduled', 'running', 'deadlines', 'succeeded', 'dead', 'cancelled', 'expired' }) do
  move_set(name, ms)
end
move_set('ready', ms * 100)
for _, key in ipairs(redis.call('KEYS', root .. 'job:*')) do
  for _, field in ipairs({ 't', 'd', 'x', 'st', 'f' }) do move_field(key, field, ms) end
  move_field(key, 'o', ms * 100)
  move_history(key)
end
move_field(root .. 'meta', 'clock', ms * 100)
move_field(root .. 'meta', 'paused_until', ms)
move_field(root .. 'meta', 'minute', ms / 60000)
move_field(root .. 'minute:start', 'minute', ms / 60000)
local workers = redis.call('HGETALL', root .. 'workers')
for at = 1, #workers, 2 do
  local seen, rest = string.match(workers[at + 1], '^(%d+)(.*)$')
  redis.call('HSET', root .. 'workers', workers[at], int(seen - ms) .. rest)
end
for _, key in ipairs(redis.call('KEYS', root .. 'idempotency:*')) do
  redis.call('PEXPIRE', key, int(redis.call('PTTL', key) - ms))
end
local minutes = redis.call('KEYS', root .. 'minute:[0-9]*')
table.sort(minutes, function(a, b) return #a < #b or (#a == #b and a < b) end)
for _, key in ipairs(minutes) do
  local minute = string.match(key, '%d+$')
  redis.call('RENAME', key, root .. 'minute:' .. int(minute - ms / 60000))
end
"""


def let_pass(client: Redis, queue: str, ms: int) -> None:
    """Make the queue's stored instants and places lie `ms` (whole minutes) further back, all in one step."""
    assert ms % MINUTE_MS == 0
    client.eval(_MOVE_BACK, 1, queue_keys(queue).meta, f"jobs:{{{queue}}}:", ms)


class Clock:
    """The time as a model of a queue knows it: the machine's, plus what was made to pass."""

    def __init__(self, client: Redis, queue: str) -> None:
        self._client = client
        self._queue = queue
        self.passed_ms = 0

    @staticmethod
    def server_ms() -> int:
        """Return what the server's clock says, ms since 1970."""
        return time.time_ns() // 1_000_000

    def now(self) -> int:
        """Return ms since 1970."""
        return self.server_ms() + self.passed_ms

    def let_pass(self, ms: int) -> None:
        """Let time pass, whole minutes, for the model as well as for the queue."""
        let_pass(self._client, self._queue, ms)
        self.passed_ms += ms

    def ticks(self, stored: int) -> int:
        """Return ticks that the server has stored as they are on this clock."""
        return stored + self.passed_ms * TICKS_PER_MS
