-- Removes up to 1,000 entries of a node, if its lease is still over; returns 1 while more are left.
-- KEYS: entries of the node, nodes, names, index
-- ARGV: node

local entries, nodes, names, index = unpack(KEYS)
local node = ARGV[1]
if leases(nodes)(node) then return 0 end
-- First, so that a node that returns meanwhile learns that its entries are gone.
redis.call('HDEL', entries, 'incarnation')
clear_some(entries, index, node)
if redis.call('HLEN', entries) > 0 then return 1 end
redis.call('ZREM', nodes, node)
redis.call('HDEL', names, node)
return 0
