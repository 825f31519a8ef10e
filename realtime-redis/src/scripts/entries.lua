-- Keeps the index of entries. Put before the scripts that call it.

-- Calls a command for the places of an entry in the index.
local function for_places(index, node, connection, json, call)
  local ok, presence = pcall(cjson.decode, json)
  if not ok or type(presence) ~= 'table' then return end
  local function text(name) return type(name) == 'string' and name or '' end
  local user, tenant = text(presence.user), text(presence.tenant)
  local rest = '\0' .. user .. '\0' .. tenant .. '\0' .. node .. ':' .. connection
  call(index, 'e' .. rest)
  if tenant ~= '' then call(index, 't' .. tenant .. rest) end
  for _, room in ipairs(type(presence.rooms) == 'table' and presence.rooms or {}) do
    call(index, 'r' .. room .. rest)
  end
end

local function add(index, place) redis.call('ZADD', index, 0, place) end
local function remove(index, place) redis.call('ZREM', index, place) end

-- Removes up to 1,000 entries of a node.
local function clear_some(entries, index, node)
  local some = redis.call('HRANDFIELD', entries, 1000, 'WITHVALUES')
  for at = 1, #some, 2 do
    if some[at] ~= 'incarnation' then
      for_places(index, node, some[at], some[at + 1], remove)
      redis.call('HDEL', entries, some[at])
    end
  end
end

