#!lua flags=no-writes
-- Returns the log's format, epoch, key, last and start, and 1 if the record with an id is missing
-- from its position.
-- KEYS: meta, log
-- ARGV: position or 0, id

local known = redis.call('HMGET', KEYS[1], 'format', 'epoch', 'key', 'last', 'start')
local position, lost = tonumber(ARGV[1]), 0
if known[4] and position > tonumber(known[5]) then
  local found = redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', ARGV[1] .. '-18446744073709551615', 'COUNT', 1)
  if #found == 0 or found[1][2][2] ~= ARGV[2] then lost = 1 end
end
return { known[1] or '', known[2] or '', known[3] or '', known[4] or '', known[5] or '', lost }
