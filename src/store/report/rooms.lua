-- Rooms: what happens to their counts in this call is gathered, and written once, at its end.

local rooms, holders, dead = prefix .. 'rooms', prefix .. 'holders', prefix .. 'dead'
local unannounced = prefix .. 'unannounced'
local LOOKUPS_MAX = 256 -- how many single parts one call may look up to count rooms again

local changes = {} -- room -> by how much its count changes; 0 if it is only asked for
local touched = {} -- the rooms of `changes`, in order
local own_before, own_now = {}, {} -- this reporter's connections, by the place of the group
local counts = {} -- room -> its count after this call
local stirred = {} -- rooms whose users are others than before, even if they are as many
local lookups = LOOKUPS_MAX

function change(room, by)
  if not changes[room] then
    touched[#touched + 1] = room
    changes[room] = 0
  end
  changes[room] = changes[room] + by
end

-- Records that so many users have come into a room, or have gone: by < 0.
local function change_users(room, by)
  change(room, by)
  stirred[room] = stirred[room] or by ~= 0
  if room == SITE then
    wide.people = wide.people + by
  end
end

function count_of(room)
  return room == SITE and store.total or counts[room] or 0
end

-- What a field adds to a count. A value that is no count adds nothing.
local function amount(stored)
  local number = tonumber(stored or '')
  return is_whole(number, LOCAL_MAX) and number or 0
end

-- The incarnations whose parts are in the counts: live ones and dead ones. Any of these keys may have been lost.
local everybody
local function known_incarnations()
  if not everybody then
    everybody = call('SMEMBERS', holders)
    local known = {}
    for _, owner in ipairs(everybody) do
      known[owner] = true
    end
    for _, list in ipairs({ call('ZRANGE', leases, 0, -1), call('HKEYS', dead) }) do
      for _, owner in ipairs(list) do
        if not known[owner] then
          known[owner] = true
          everybody[#everybody + 1] = owner
        end
      end
    end
  end
  return everybody
end

-- The users of a room, or of the site, with an identity. All incarnations that have a user share him.
local function users_in(room)
  return call('HLEN', prefix .. 'people:' .. room)
end

-- The count of a room by its parts.
local function recount(room)
  local sum = users_in(room)
  for _, owner in ipairs(known_incarnations()) do
    sum = sum + amount(call('HGET', prefix .. 'at:' .. owner, room))
    lookups = lookups - 1
  end
  return sum
end

-- Whether there are fewer counts than there should be. Then a room without one is not a room with nobody in it.
local are_missing
local function are_counts_missing()
  if are_missing == nil then
    are_missing = call('HLEN', rooms) < wide.rooms
  end
  return are_missing
end

-- The count of a room after this call. `base` is the stored count, which is absent if nobody was there. If it cannot
-- be right, the parts are looked up; if that would take too long, the next audit finds what is missing.
local function counted(room, base, is_stored)
  local place = place_of[room]
  local is_checked = place and kind == 'audit' and lookups > 0
  local count
  if is_whole(base, WHOLE_MAX) then
    count = base + changes[room]
  elseif not is_stored and place and own_before[place] == 0 and not are_counts_missing() then
    count = own_now[place] + users_in(room)
  end
  local is_wrong = not count or count < 0
  if (is_wrong or is_checked) and lookups > 0 then
    local sum = recount(room)
    repaired = repaired + (sum ~= count and 1 or 0)
    return sum
  end
  if is_wrong then
    repaired = repaired + 1
    return (own_now[place or 0] or 0) + users_in(room)
  end
  return count
end

-- Step 8: write the counts. A room is announced if its count is another, or if other users are in it than before: lists of
-- users follow from that.
function settle()
  store.total = store.total + (changes[SITE] or 0)
  local asked, set, empty, added = {}, {}, {}, 0
  for _, room in ipairs(touched) do
    if room ~= SITE then
      asked[#asked + 1] = room
    end
  end
  if #asked == 0 then
    return
  end
  for index, stored in ipairs(call('HMGET', rooms, unpack(asked))) do
    local room, base = asked[index], tonumber(stored or '')
    local count = counted(room, base, stored)
    counts[room] = count
    if count == 0 and stored then
      empty[#empty + 1] = room
    elseif count > 0 and count ~= base then
      added = added + (stored and 0 or 1)
      set[#set + 1] = room
      set[#set + 1] = text(count)
    end
    if count ~= (base or 0) or stirred[room] then
      changed[#changed + 1] = room
    end
  end
  wide.rooms = wide.rooms + added
  renew_due = renew_due or (#set > 0 and wide.rooms * 2 == #set) -- all rooms are new
  call_all('HSET', rooms, set)
  wide.rooms = math.max(0, wide.rooms - call_all('HDEL', rooms, empty))
end

-- What `wide` should say, after it was lost.
function read_wide_again()
  wide.rooms, wide.dead = call('HLEN', rooms), call('HLEN', dead)
  wide.backlog, wide.people = call('SCARD', unannounced), users_in(SITE)
end

-- Makes every reporter report everything again, this one, too. What fences off late reports of those that are not counted any more
-- stays.
local function begin_again()
  local owners = call('HKEYS', connections)
  if #owners > 0 then
    call_all('HDEL', sequences, owners)
  else
    call('DEL', sequences)
  end
  last, fenced, parts_lost = nil, false, true
end

-- For audits. If most counts are lost, the parts are worth nothing: every reporter is told to report all its rooms again.
function forget_rooms()
  local found = call('HLEN', rooms)
  wide.dead = call('HLEN', dead)
  if found >= wide.rooms / 2 then
    wide.rooms = found
    return
  end
  for _, owner in ipairs(known_incarnations()) do
    call('UNLINK', prefix .. 'at:' .. owner)
  end
  call('UNLINK', rooms)
  begin_again()
  wide.rooms = 0
end

-- For audits, and for reports that name users of the site. If most users of the site are lost, its count would soon look right and be
-- wrong: every reporter is told to report everything again.
function forget_site()
  local found, known = users_in(SITE), wide.people
  wide.people = found
  if found < known / 2 then
    begin_again()
    store.total = math.max(0, store.total - known + found)
  end
end
