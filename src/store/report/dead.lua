-- Step 5: take away what the dead had in rooms. A dead incarnation leaves the site's count at once, but may have been in
-- many thousand rooms. So each call takes away a portion, and reporters are told to report again soon while there are
-- dead. The count of a room is right by its parts all the time: it includes the dead until their turn comes.

-- A portion is limited by its cost, in units of a few microseconds: one for each pair and field, and more for each room
-- whose users change, since it is a key of its own. A report with entries takes away less.
local COST_MAX, COST_MIN, ENTRY_COST, ROOM_COST = 600, 100, 2, 4
local PAIRS_MAX = 64 -- taken out at a time
local DEAD_MAX = 4 -- looked at in one call

-- Puts an incarnation among the dead if it has anything in rooms.
function mark_dead(owner)
  if call('EXISTS', prefix .. 'at:' .. owner, prefix .. 'of:' .. owner) > 0 then
    wide.dead = wide.dead + call('HSETNX', dead, owner, '0')
    renew_due = true
  else
    call('SREM', holders, owner)
  end
end

-- Sorts pairs by their rooms. A pair that names no room is dropped.
local function by_rooms(pairs_held)
  local users_of, order = {}, {}
  for _, pair in ipairs(pairs_held) do
    local cut = string.find(pair, '\n', 1, true)
    if cut then
      local room = string.sub(pair, 1, cut - 1)
      if not users_of[room] then
        users_of[room] = {}
        order[#order + 1] = room
      end
      table.insert(users_of[room], string.sub(pair, cut + 1))
    end
  end
  return users_of, order
end

-- Takes a dead incarnation's tag from its users in a room.
local function strip(room, tag, held)
  local key, set, empty = prefix .. 'people:' .. room, {}, {}
  for index, value in ipairs(call('HMGET', key, unpack(held))) do
    local tags, information = split(value or '')
    local left = without(tags, tag)
    if left == '' and value then
      empty[#empty + 1] = held[index]
    elseif left ~= tags then
      set[#set + 1] = held[index]
      set[#set + 1] = left .. information
    end
  end
  call_all('HSET', key, set)
  change_users(room, -call_all('HDEL', key, empty))
end

-- Takes away pairs of a room and a user. Returns what is left of the budget.
local function take_pairs(owner, of, budget)
  local asked = 0
  repeat
    asked = math.max(1, math.ceil(math.min(budget / (1 + ROOM_COST), PAIRS_MAX)))
    local held = call('SPOP', of, asked)
    local users_of, order = by_rooms(held)
    for _, room in ipairs(order) do
      strip(room, tag_of(owner), users_of[room])
    end
    budget = budget - #held - ROOM_COST * #order
  until #held < asked or budget <= 0
  return budget
end

-- Takes away connections without identity. Returns what is left of the budget, and where to go on.
local function take_connections(at, cursor, budget)
  local page = call('HSCAN', at, cursor, 'COUNT', math.ceil(budget))
  local taken = {}
  for place = 1, #page[2], 2 do
    taken[#taken + 1] = page[2][place]
    change(page[2][place], -amount(page[2][place + 1]))
  end
  call_all('HDEL', at, taken)
  return budget - #taken - 1, page[1]
end

local function take_from(owner, cursor, budget)
  local at, of = prefix .. 'at:' .. owner, prefix .. 'of:' .. owner
  budget = take_pairs(owner, of, budget)
  if budget > 0 then
    budget, cursor = take_connections(at, string.match(cursor, '^%d+$') or '0', budget)
  end
  if call('EXISTS', at, of) == 0 then
    call('HDEL', dead, owner)
    call('SREM', holders, owner)
  else
    call('HSET', dead, owner, cursor)
  end
  return budget
end

-- An incarnation that is counted in the site is not dead, whatever the key says.
function take_away()
  local budget = math.max(COST_MIN, COST_MAX - ENTRY_COST * entries)
  local waiting = call('HSCAN', dead, 0, 'COUNT', DEAD_MAX)[2]
  for index = 1, #waiting, 2 do
    if budget <= 0 then
      break
    end
    local owner, cursor = waiting[index], waiting[index + 1]
    if call('HEXISTS', connections, owner) == 1 then
      call('HDEL', dead, owner)
      repaired = repaired + 1
    else
      budget = take_from(owner, cursor, budget)
    end
  end
  wide.dead = call('HLEN', dead)
end
