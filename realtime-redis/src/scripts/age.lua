-- Drops what is too old while nothing is appended; returns 1 while more is left to drop.
-- KEYS: meta, log, changes, keys, order, rooms
-- ARGV: records, bytes, age

local meta, log, changes, keys, order, rooms = unpack(KEYS)
local bounds = { records = tonumber(ARGV[1]), bytes = tonumber(ARGV[2]), age = tonumber(ARGV[3]) }
local known = redis.call('HMGET', meta, 'last', 'start', 'bytes', 'since')
if not known[1] then return 0 end
local now = clock()
local state = {
  last = tonumber(known[1]), start = tonumber(known[2]), bytes = tonumber(known[3]), since = tonumber(known[4]),
}
local before = state.start
local more = trim(log, changes, rooms, state, bounds, now)
if state.start > before then
  redis.call('HSET', meta, 'start', text(state.start), 'bytes', text(state.bytes), 'since', text(state.since))
end

local forgotten = 0
while forgotten < MOST_AGED do
  local oldest = redis.call('LINDEX', order, 0)
  if not oldest then break end
  local value = redis.call('HGET', keys, oldest)
  if value and tonumber(string.match(value, '^(%d+):', 33)) > now then break end
  redis.call('LPOP', order)
  redis.call('HDEL', keys, oldest)
  forgotten = forgotten + 1
end
if more or forgotten == MOST_AGED then return 1 end
return 0
