-- Keeps the indexes of entries by user and by tenant. Put before the scripts that call it. An index
-- is a sorted set of texts: the name with its length, the node, the connection.

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Calls a command for the places of an entry in both indexes.
local function for_index(users, tenants, node, connection, json, call)
  local ok, presence = pcall(cjson.decode, json)
  if not ok then return end
  for index, name in pairs({ [users] = presence.user, [tenants] = presence.tenant }) do
    if type(name) == 'string' then
      call(index, string.format('%d:', #name) .. name .. ':' .. node .. ':' .. connection)
    end
  end
end

local function add(index, place) redis.call('ZADD', index, 0, place) end
local function remove(index, place) redis.call('ZREM', index, place) end

-- Removes up to 1,000 entries of a node.
local function clear_some(entries, users, tenants, node)
  local some = redis.call('HRANDFIELD', entries, 1000, 'WITHVALUES')
  for at = 1, #some, 2 do
    if some[at] ~= 'incarnation' then
      for_index(users, tenants, node, some[at], some[at + 1], remove)
      redis.call('HDEL', entries, some[at])
    end
  end
end

