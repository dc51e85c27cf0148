-- Part of step 1, only if rooms are named: read and check the groups.

local ENTRIES_MAX = 256 -- more could block Redis for longer than 5 ms
local USER_BYTES_MAX, WORD_BYTES_MAX = 128, 513 -- a sign, and 512 of JSON

local function is_name(word, max)
  return #word > 0 and #word <= max and not string.find(word, '\n', 1, true)
end

local function are_users(first, last)
  local named = {}
  for index = first, last, 2 do
    local user, word = ARGV[index], ARGV[index + 1]
    local known = word and (word == '-' or word == '+' or string.find(word, '^[+~]{'))
    if not known or #word > WORD_BYTES_MAX or not is_name(user, USER_BYTES_MAX) or named[user] then
      return false
    end
    named[user] = true
  end
  return true
end

-- Reads the group that begins at this index. Returns where the next one begins, or nil if it is no group.
local function read_group(index)
  local name, connected, held = ARGV[index], ARGV[index + 1], tonumber(ARGV[index + 2])
  if not is_whole(held, ENTRIES_MAX) or not is_name(name, ROOM_BYTES_MAX) or place_of[name] then
    return nil
  end
  local count = connected ~= '' and tonumber(connected)
  if connected ~= '' and (name == SITE or not is_whole(count or nil, LOCAL_MAX)) then
    return nil
  end
  local place, first, last = #names + 1, index + 3, index + 2 + 2 * held
  names[place], said[place], place_of[name] = name, count, place
  entries = entries + 1 + held
  if held > 0 then
    first_user[place], last_user[place] = first, last
    return are_users(first, last) and last + 1
  end
  return first
end

local function are_groups()
  local index = HEADER + 1
  while index and index <= #ARGV and entries <= ENTRIES_MAX do
    index = read_group(index) or nil
  end
  return index and entries <= ENTRIES_MAX
end

valid = valid and #incarnation >= TAG_BYTES and are_groups()
