-- Applies a node's changes and renews its lease; returns the incarnation of its entries, then the
-- nodes whose lease is over.
-- KEYS: entries of the node, nodes, names, index
-- ARGV: node, what others know of it, lease, new incarnation, then for each change: connection,
-- entry or ''

local entries, nodes, names, index = unpack(KEYS)
local node, info, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
-- The entries of a service that no longer runs anywhere, which no other node removes.
local ABANDONED = 86400000

if redis.call('HSETNX', entries, 'incarnation', ARGV[4]) == 1 then
  -- What is left while the entries of an earlier incarnation are being removed.
  while redis.call('HLEN', entries) > 1 do clear_some(entries, index, node) end
end
for at = 5, #ARGV, 2 do
  local connection, json = ARGV[at], ARGV[at + 1]
  local old = redis.call('HGET', entries, connection)
  if old and old ~= json then for_places(index, node, connection, old, remove) end
  if json == '' then
    redis.call('HDEL', entries, connection)
  else
    redis.call('HSET', entries, connection, json)
    for_places(index, node, connection, json, add)
  end
end
local now = clock()
redis.call('ZADD', nodes, now + lease, node)
redis.call('HSET', names, node, info)
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ABANDONED + lease) end
local over = redis.call('ZRANGEBYSCORE', nodes, '-inf', now, 'LIMIT', 0, 10)
return { redis.call('HGET', entries, 'incarnation'), over }
