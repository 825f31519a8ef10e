-- Removes up to 1,000 entries of a node, if its lease is still over; returns 1 while more are left.
-- KEYS: entries of the node, nodes, users, tenants
-- ARGV: node

local entries, nodes, users, tenants = unpack(KEYS)
local node = ARGV[1]
local lease = redis.call('ZSCORE', nodes, node)
if lease and tonumber(lease) > clock() then return 0 end
-- First, so that a node that returns meanwhile learns that its entries are gone.
redis.call('HDEL', entries, 'incarnation')
clear_some(entries, users, tenants, node)
if redis.call('HLEN', entries) > 0 then return 1 end
redis.call('ZREM', nodes, node)
return 0
