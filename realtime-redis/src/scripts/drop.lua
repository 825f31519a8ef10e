-- Removes the entries of a node, if its lease is still over.
-- KEYS: entries of the node, nodes, users, tenants
-- ARGV: node

local entries, nodes, users, tenants = unpack(KEYS)
local node = ARGV[1]
local lease = redis.call('ZSCORE', nodes, node)
if lease and tonumber(lease) > clock() then return 0 end
local all = redis.call('HGETALL', entries)
for at = 1, #all, 2 do
  if all[at] ~= 'incarnation' then for_index(users, tenants, node, all[at], all[at + 1], remove) end
end
redis.call('UNLINK', entries)
redis.call('ZREM', nodes, node)
return 1
