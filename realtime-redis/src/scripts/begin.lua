#!lua flags=allow-oom
-- Begins an epoch, if the log has none, or if it is the one that was seen and has lost a record;
-- returns the format, epoch, key, last and start that hold then.
-- KEYS: meta, log, changes, keys, order, rooms
-- ARGV: format, new epoch, new key, seen epoch or '', position, id

local meta, log, changes, keys, order, rooms = unpack(KEYS)
local format, epoch, key, seen, position, id = unpack(ARGV)

local known = redis.call('HMGET', meta, 'format', 'epoch', 'key', 'last', 'start')
local function is_readable()
  return known[1] and known[2] and #known[2] == 16 and known[3] and #known[3] == 32 and known[4] and known[5]
end

local function has_lost()
  if tonumber(position) <= tonumber(known[5]) then return false end
  local found = redis.call('XRANGE', log, position .. '-0', position .. '-18446744073709551615', 'COUNT', 1)
  return #found == 0 or found[1][2][2] ~= id
end

if known[1] and tonumber(known[1]) ~= tonumber(format) then
  return { known[1], '', '', '', '' }
elseif not is_readable() then
  -- There is no state without a key: nothing of such a log can be told from another's.
  redis.call('UNLINK', meta, log, changes, keys, order, rooms)
  redis.call('HSET', meta, 'format', format, 'epoch', epoch, 'key', key, 'last', '0', 'start', '0', 'bytes', '0',
    'since', '0', 'id', '')
  return { format, epoch, key, '0', '0' }
elseif seen == known[2] and has_lost() then
  redis.call('HSET', meta, 'epoch', epoch, 'key', key)
  redis.call('UNLINK', keys, order, rooms)
  if redis.call('XLEN', log) ~= tonumber(known[4]) - tonumber(known[5]) then
    -- Someone else removed records: what is left is no log.
    redis.call('UNLINK', log, changes)
    redis.call('HSET', meta, 'start', known[4], 'bytes', '0', 'id', '')
    known[5] = known[4]
  end
  return { format, epoch, key, known[4], known[5] }
end
return known
