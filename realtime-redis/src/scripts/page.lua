-- Returns users of a group, in their order, who have an entry on a node whose lease is valid; then
-- where to go on, or '' at the end.
-- KEYS: index, nodes
-- ARGV: group, where to begin: '' or what an earlier call returned, the most users

local index, group, most = KEYS[1], ARGV[1], tonumber(ARGV[3])
local prefix = group .. '\0'
-- The places that one call looks at, so that none takes long.
local MOST_LOOKED = 5000

-- Connections without a user are first; no user's name begins with this byte.
local from = ARGV[2] == '' and '(' .. prefix .. '\1' or ARGV[2]
local is_valid, found, looked = leases(KEYS[2]), {}, 0
while #found < most and looked < MOST_LOOKED do
  local places = redis.call('ZRANGEBYLEX', index, from, '(' .. prefix .. '\255', 'LIMIT', 0, 256)
  if #places == 0 then return { found, '' } end
  looked = looked + #places
  for _, place in ipairs(places) do
    local user, node = parts(place, group)
    if user and user ~= found[#found] and is_valid(node) then
      if #found == most then return { found, '[' .. place } end
      found[#found + 1] = user
    end
    from = '(' .. place
  end
  -- The other connections of the last user.
  local last = found[#found] and '(' .. prefix .. found[#found] .. '\0\255'
  if last and last > from then from = last end
end
return { found, from }
