-- Appends a record, unless the epoch or the key says otherwise, and trims the log.
-- KEYS: meta, log, changes, keys, order, rooms
-- ARGV: epoch, id, record, change or '', records, bytes, age, and with a key: key, content, keep,
-- the number of keys

local meta, log, changes, keys, order, rooms = unpack(KEYS)
local epoch, id, record, change = unpack(ARGV, 1, 4)
local bounds = { records = tonumber(ARGV[5]), bytes = tonumber(ARGV[6]), age = tonumber(ARGV[7]) }
local key, content, keep, most_keys = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])

local known = redis.call('HMGET', meta, 'epoch', 'last', 'start', 'bytes', 'since', 'id')
if known[1] ~= epoch then return { 'epoch' } end
local now = clock()

-- Returns the end of a key's time, and its position as text.
local function parts(first)
  local ends, position = string.match(first, '^(%d+):(%d+)$', 33)
  return tonumber(ends), position
end

local first = key and redis.call('HGET', keys, key)
if first then
  local ends, position = parts(first)
  if ends > now then
    if string.sub(first, 1, 16) ~= content then return { 'reused' } end
    return { 'repeated', position, string.sub(first, 17, 32) }
  end
end

local state = {
  last = tonumber(known[2]) + 1,
  start = tonumber(known[3]),
  bytes = tonumber(known[4]) + #record,
  since = tonumber(known[5]),
}
if state.last == state.start + 1 then state.since = now end
local at = text(state.last) .. '-' .. text(now)
redis.call('XADD', log, at, 'i', id, 'p', known[6], 'r', record)
if change ~= '' then redis.call('XADD', changes, at, 'c', change) end
trim(log, changes, rooms, state, bounds, now)
redis.call('HSET', meta, 'last', text(state.last), 'start', text(state.start), 'bytes', text(state.bytes),
  'since', text(state.since), 'id', id)

if key then
  -- A key whose time is over can be queued behind one that is kept for longer.
  if first then redis.call('LREM', order, 1, key) end
  redis.call('HSET', keys, key, content .. id .. text(now + keep) .. ':' .. text(state.last))
  redis.call('RPUSH', order, key)
  while redis.call('LLEN', order) > most_keys do
    redis.call('HDEL', keys, redis.call('LPOP', order))
  end
  for _ = 1, 16 do
    local oldest = redis.call('LINDEX', order, 0)
    local value = oldest and redis.call('HGET', keys, oldest)
    if not oldest or value and parts(value) > now then break end
    redis.call('LPOP', order)
    redis.call('HDEL', keys, oldest)
  end
end
return { 'appended', text(state.last) }
