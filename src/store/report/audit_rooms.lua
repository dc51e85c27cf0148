-- Step 6, if an audit is due: count a few rooms again from their parts, and check that those who are said to have a user
-- do have him. Each audit goes on where the last one ended.

local ROOMS_AUDITED_MAX = 16
local USERS_AUDITED_MAX = 32 -- of one room; a small hash comes as a whole, with up to 128

-- Gives every incarnation that has rooms, and that nobody counts in the site any more, to the dead. Version 0.2.0 counts
-- out an instance without its rooms; or an entry in `dead` was lost.
local function find_dead()
  local leased = {}
  for _, owner in ipairs(call('ZRANGE', leases, 0, -1)) do
    leased[owner] = true
  end
  for _, owner in ipairs(call('SMEMBERS', holders)) do
    if not leased[owner] and call('HEXISTS', connections, owner) == 0 then
      mark_dead(owner)
    end
  end
end

-- Whether an incarnation has a user in a room. `owner_of` names the known incarnations by their tags.
local function is_held(owner_of, tag, room, user)
  local owner = owner_of[tag]
  return owner and call('SISMEMBER', prefix .. 'of:' .. owner, room .. '\n' .. user) == 1
end

-- The tags in a value of those that do have the user, each once.
local function checked_tags(owner_of, tags, room, user)
  local kept = ''
  for at = 1, #tags, TAG_BYTES do
    local tag = string.sub(tags, at, at + TAG_BYTES - 1)
    if not position(kept, tag) and is_held(owner_of, tag, room, user) then
      kept = kept .. tag
    end
  end
  return kept
end

-- Checks some of a room's users. Returns where to go on, and how many were looked at.
local function audit_users(room, cursor)
  local key, owner_of = prefix .. 'people:' .. room, {}
  local page = call('HSCAN', key, text(cursor), 'COUNT', USERS_AUDITED_MAX)
  if #page[2] == 0 then
    return tonumber(page[1]), 0
  end
  for _, owner in ipairs(known_incarnations()) do
    owner_of[tag_of(owner)] = owner
  end
  local set, empty = {}, {}
  for index = 1, #page[2], 2 do
    local user, value = page[2][index], page[2][index + 1]
    local tags, information = split(value)
    local kept = checked_tags(owner_of, tags, room, user)
    if kept == '' then
      empty[#empty + 1] = user
    elseif kept ~= tags then
      set[#set + 1] = user
      set[#set + 1] = kept .. information
    end
  end
  repaired = repaired + #empty + #set / 2
  call_all('HSET', key, set)
  change_users(room, -call_all('HDEL', key, empty))
  call('PEXPIRE', key, PEOPLE_KEPT)
  return tonumber(page[1]), #page[2] / 2
end

-- Counts a room again. Returns how many of its users were looked at.
local function audit_room(room, stored)
  if room == SITE then -- somebody put it there
    wide.rooms = wide.rooms - call('HDEL', rooms, room)
    return 0
  end
  local sum = recount(room)
  if not is_whole(stored, WHOLE_MAX) then
    change(room, 0) -- `settle` puts it right
  elseif not changes[room] and sum ~= stored then
    repaired = repaired + 1
    change(room, sum - stored)
  end
  local users_there = users_in(room)
  if users_there == 0 then
    return 0
  end
  -- Of a large room a part, a different one each time.
  local cursor = users_there > USERS_AUDITED_MAX and (sequence * 7919 + math.floor(store.clock / 7)) % users_there or 0
  local _, checked = audit_users(room, cursor)
  return checked
end

function audit_rooms()
  wide.audited = store.clock
  if not leases_lost then
    find_dead()
  end
  local most = math.floor(lookups / math.max(1, #known_incarnations()))
  most = math.max(1, math.min(ROOMS_AUDITED_MAX, most))
  local checked
  wide.site_cursor, checked = audit_users(SITE, wide.site_cursor)
  local page = call('HSCAN', rooms, text(wide.cursor), 'COUNT', most)
  local found, done = #page[2] / 2, 0
  while wide.index < found and done < most and checked < 3 * USERS_AUDITED_MAX do
    local at = 2 * wide.index + 1
    checked = checked + audit_room(page[2][at], tonumber(page[2][at + 1]))
    wide.index, done = wide.index + 1, done + 1
  end
  if wide.index >= found then -- a small hash comes as a whole, and so more than once
    wide.cursor, wide.index = tonumber(page[1]), 0
  end
end
