-- Counts the users and connections of a group on nodes whose lease is valid; returns both, then
-- where to go on, or '' at the end, and the last user that was counted.
-- KEYS: index, nodes
-- ARGV: group, where to begin: '' or what an earlier call returned, the last user counted or ''

local index, group, last = KEYS[1], ARGV[1], ARGV[3]
local prefix = group .. '\0'
-- The places that one call looks at, so that none takes long.
local MOST_LOOKED = 2000

local from = ARGV[2] == '' and '[' .. prefix or ARGV[2]
local is_valid, users, connections = leases(KEYS[2]), 0, 0
local places = redis.call('ZRANGEBYLEX', index, from, '(' .. prefix .. '\255', 'LIMIT', 0, MOST_LOOKED)
for _, place in ipairs(places) do
  local user, node = parts(place, group)
  if user and is_valid(node) then
    connections = connections + 1
    if user ~= last and string.byte(user) ~= 0 then
      users, last = users + 1, user
    end
  end
end
return { users, connections, #places == MOST_LOOKED and '(' .. places[#places] or '', last }
