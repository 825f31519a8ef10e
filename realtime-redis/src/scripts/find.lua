-- Returns node and connection of each entry of a user, on nodes whose lease is valid.
-- KEYS: index, nodes
-- ARGV: user

local prefix = 'e\0' .. ARGV[1] .. '\0'
local is_valid, found = leases(KEYS[2]), {}
for _, place in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. prefix, '(' .. prefix .. '\255')) do
  local _, node, connection = parts(place, 'e')
  if node and is_valid(node) then
    found[#found + 1] = node
    found[#found + 1] = connection
  end
end
return found
