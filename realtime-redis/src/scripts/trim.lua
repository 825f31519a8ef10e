-- Drops the oldest records of a log, and keeps the rooms that they made. Put before the scripts
-- that call it.

-- The records that one call drops for their age alone, so that no call takes long.
local MOST_AGED = 1000

-- Writes a number in full: Lua writes 1e14 for a large one.
local function text(number)
  return string.format('%.0f', number)
end

-- Returns the server's time in milliseconds.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Returns a table, or nothing for an empty one.
local function filled(rooms)
  if rooms and next(rooms) then return rooms end
end

-- Joins a room; a second join changes nothing.
local function join(rooms, room, at)
  rooms[room] = rooms[room] or at
end

-- Applies the change of a user whose tenant is named.
local function edit_tenant(bare, of, change, at)
  of.own, of.shut_out = of.own or {}, of.shut_out or {}
  if change.join then
    join(of.own, change.join, at)
    of.shut_out[change.join] = nil
  elseif change.leave then
    of.own[change.leave] = nil
    if bare[change.leave] then join(of.shut_out, change.leave, at) end
  elseif change.absent then
    for room, joined in pairs(of.own) do
      if joined <= change.absent then of.own[room] = nil end
    end
  elseif change.present then
    for room in pairs(of.own) do of.own[room] = at end
  end
end

-- Applies the change of a user in all tenants.
local function edit_bare(bare, tenants, change, at)
  if change.join then
    join(bare, change.join, at)
    for _, of in pairs(tenants) do
      if of.shut_out then of.shut_out[change.join] = nil end
    end
  elseif change.leave then
    bare[change.leave] = nil
    for _, of in pairs(tenants) do
      if of.own then of.own[change.leave] = nil end
      if of.shut_out then of.shut_out[change.leave] = nil end
    end
  elseif change.absent then
    for room, joined in pairs(bare) do
      if joined <= change.absent then bare[room] = nil end
    end
    for _, of in pairs(tenants) do
      for room in pairs(of.shut_out or {}) do
        if not bare[room] then of.shut_out[room] = nil end
      end
    end
  elseif change.present then
    for room in pairs(bare) do bare[room] = at end
  end
end

-- Returns a user's rooms after a change, or nothing when none is left. The same as
-- `RoomTable::edit` does.
local function edited(rooms, change, at)
  local bare, tenants = rooms.bare or {}, rooms.tenants or {}
  if change.tenant then
    tenants[change.tenant] = tenants[change.tenant] or {}
    edit_tenant(bare, tenants[change.tenant], change, at)
  else
    edit_bare(bare, tenants, change, at)
  end
  for tenant, of in pairs(tenants) do
    local left = { own = filled(of.own), shut_out = filled(of.shut_out) }
    tenants[tenant] = filled(left)
  end
  return filled({ bare = filled(bare), tenants = filled(tenants) })
end

-- Decodes JSON; what is not JSON counts as nothing, so that no damage can stop the log.
local function decoded(json)
  local ok, value = pcall(cjson.decode, json or '{}')
  return ok and type(value) == 'table' and value or {}
end

-- Applies the changes of rooms up to a position to the table of rooms, and drops them.
local function apply_changes(changes, rooms, start)
  local due = redis.call('XRANGE', changes, '-', text(start) .. '-18446744073709551615')
  for _, entry in ipairs(due) do
    local change, at = decoded(entry[2][2]), tonumber(string.match(entry[1], '^%d+'))
    if change.user then
      local left = edited(decoded(redis.call('HGET', rooms, change.user)), change, at)
      if left then
        redis.call('HSET', rooms, change.user, cjson.encode(left))
      else
        redis.call('HDEL', rooms, change.user)
      end
    end
  end
  if #due > 0 then redis.call('XTRIM', changes, 'MINID', text(start + 1) .. '-0') end
end

-- Drops the records beyond the bounds, the oldest first; the newest stays. Changes `state` (last,
-- start, bytes, since), and returns whether records are left that are too old.
local function trim(log, changes, rooms, state, bounds, now)
  local aged, before = 0, state.start
  local function is_over()
    return state.last - state.start > bounds.records or state.bytes > bounds.bytes
  end
  local function is_due()
    if state.last - state.start <= 1 then return false end
    if is_over() then return true end
    return state.since < now - bounds.age and aged < MOST_AGED
  end
  while is_due() do
    -- One more than is dropped: the next one says since when the oldest is kept.
    local many = state.last - state.start > bounds.records + 1 or not is_over()
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', many and 65 or 2)
    if #oldest < 2 then
      -- Not the records that `state` tells of: someone else changed the log.
      state.start, state.bytes = state.last - #oldest, 0
      break
    end
    local at = 1
    while at < #oldest and is_due() do
      if not is_over() then aged = aged + 1 end
      state.bytes = state.bytes - #oldest[at][2][6]
      state.start = tonumber(string.match(oldest[at][1], '^%d+'))
      state.since = tonumber(string.match(oldest[at + 1][1], '%d+$'))
      at = at + 1
    end
    redis.call('XTRIM', log, 'MINID', text(state.start + 1) .. '-0')
  end
  if state.start > before then apply_changes(changes, rooms, state.start) end
  return aged == MOST_AGED
end

