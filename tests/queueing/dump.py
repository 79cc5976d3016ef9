"""Everything a server holds, read in one step, to be compared; of a cluster, everything of each primary."""

from __future__ import annotations

from typing import Any

from queueing.connections import Client, primaries

_READ_ALL = """
local reply = {}
for n, key in ipairs(redis.call('KEYS', '*')) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'hash' then
    value = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'list' then
    value = redis.call('LRANGE', key, 0, -1)
  else
    value = redis.call('GET', key)
  end
  reply[n] = { key, kind, value }
end
return reply
"""


def dump(client: Client) -> dict[str, Any]:
    """Return key -> value: dicts for hashes, dicts of numbers for sorted sets, lists, bytes."""
    found = [row for server in primaries(client).values() for row in server.eval(_READ_ALL, 0)]
    return {key.decode(): _value(kind, value) for key, kind, value in found}


def _value(kind: bytes, value: Any) -> Any:
    if kind == b"hash":
        return {name.decode(): text for name, text in _pairs(value)}
    if kind == b"zset":
        return {member.decode(): int(float(score)) for member, score in _pairs(value)}
    return value


def _pairs(flat: list[bytes]) -> zip[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
