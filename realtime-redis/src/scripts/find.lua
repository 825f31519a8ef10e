#!lua flags=no-writes
-- Returns node and connection of each entry of a name, on nodes whose lease is valid.
-- KEYS: users or tenants, nodes
-- ARGV: the name with its length

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local places = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[1], '(' .. ARGV[1] .. '\255')
local found, valid = {}, {}
for _, place in ipairs(places) do
  local node, connection = string.match(string.sub(place, #ARGV[1] + 1), '^(%x+):(%x+)$')
  if node then
    if valid[node] == nil then
      local lease = redis.call('ZSCORE', KEYS[2], node)
      valid[node] = lease and tonumber(lease) > now or false
    end
    if valid[node] then
      found[#found + 1] = node
      found[#found + 1] = connection
    end
  end
end
return found
