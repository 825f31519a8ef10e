-- The leases of nodes, and the places of entries in the index. Put before the scripts that call it.
--
-- The index is a sorted set of texts: a group, then user, tenant, and node with connection, each
-- after a zero byte, which no name has. The groups are `e` for everything, `t` and a tenant, `r` and
-- a room. So the users of a group are together, in their order.

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns a function that says whether a node's lease is valid.
local function leases(nodes)
  local now, known = clock(), {}
  return function(node)
    if known[node] == nil then
      local lease = redis.call('ZSCORE', nodes, node)
      known[node] = lease and tonumber(lease) > now or false
    end
    return known[node]
  end
end

-- Returns user and tenant with the zero byte between them, node, and connection of a place.
local function parts(place, group)
  return string.match(string.sub(place, #group + 1), '^%z(.*%z.*)%z(%x+):(%x+)$')
end
