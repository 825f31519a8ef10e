-- Returns 1 or 0 for each user: whether there is an entry on a node whose lease is valid.
-- KEYS: index, nodes
-- ARGV: user and tenant with a zero byte between them, for each

local is_valid, found = leases(KEYS[2]), {}
for at, user in ipairs(ARGV) do
  local prefix = 'e\0' .. user .. '\0'
  found[at] = 0
  for _, place in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. prefix, '(' .. prefix .. '\255')) do
    local _, node = parts(place, 'e')
    if node and is_valid(node) then
      found[at] = 1
      break
    end
  end
end
return found
