-- Step 7: what the reporter says of its rooms. A user is stored with the tags of the incarnations that have him, so
-- that saying it twice is saying it once. The number of users is the number of fields.

local PEOPLE_KEPT = 86400000 -- ms; less than the parts live, so that no user outlives what names his owner

local elsewhere = {} -- for each user of the report: 1 if another incarnation has him, too
local held_rooms, held_users = 0, 0 -- what the store has of this reporter

local function tag_of(owner)
  return string.sub(owner, -TAG_BYTES)
end
local own_tag = tag_of(incarnation)
local former_tag = former ~= '' and tag_of(former)

-- The tags in a value, and the information behind them. Tags that are cut off are worth nothing.
local function split(value)
  local cut = string.find(value, '{', 1, true)
  local tags = cut and string.sub(value, 1, cut - 1) or value
  return #tags % TAG_BYTES == 0 and tags or '', cut and string.sub(value, cut) or ''
end

local function position(tags, tag)
  for index = 1, #tags, TAG_BYTES do
    if string.sub(tags, index, index + TAG_BYTES - 1) == tag then
      return index
    end
  end
end

local function without(tags, tag)
  local index = position(tags, tag)
  while index do -- once, unless somebody edited it
    tags = string.sub(tags, 1, index - 1) .. string.sub(tags, index + TAG_BYTES)
    index = position(tags, tag)
  end
  return tags
end

-- Whether another incarnation has the user.
local function is_elsewhere(tags)
  local others = #tags / TAG_BYTES - (position(tags, own_tag) and 1 or 0)
  return others > 0 and 1 or 0
end

-- The value of a user after this report, or '' if nobody has him; and whether other things are known of him than before. The former
-- incarnation of this reporter does not have him any more. Its list of users may be lost, and the dead are taken away by these lists.
local function new_value(value, word)
  local tags, known = split(value or '')
  tags = former_tag and without(tags, former_tag) or tags
  local information = known
  if word == '-' then
    tags = without(tags, own_tag)
  else
    tags = position(tags, own_tag) and tags or tags .. own_tag
  end
  local others = is_elsewhere(tags)
  elsewhere[#elsewhere + 1] = others
  if word == '+' then
    information = others == 1 and known or '' -- what is known of a user goes with the last who has said something
  elseif word ~= '-' and (known == '' or string.sub(word, 1, 1) == '+') then
    information = string.sub(word, 2)
  end
  return tags ~= '' and tags .. information or '', information ~= known
end

local function apply_users(place, pairs_here, pairs_gone)
  local room, first, asked = names[place], first_user[place], {}
  local key = prefix .. 'people:' .. room
  for index = first, last_user[place], 2 do
    asked[#asked + 1] = ARGV[index]
  end
  local set, empty = {}, {}
  for index, value in ipairs(call('HMGET', key, unpack(asked))) do
    local user, word = asked[index], ARGV[first + 2 * index - 1]
    local told = word == '-' and pairs_gone or pairs_here
    told[#told + 1] = room .. '\n' .. user
    local new, is_told_anew = new_value(value, word)
    if new == '' and value then
      empty[#empty + 1] = user
    elseif new ~= '' and new ~= value then
      set[#set + 1] = user
      set[#set + 1] = new
      stirred[room] = stirred[room] or is_told_anew
    end
  end
  if #set > 0 then
    change_users(room, call('HSET', key, unpack(set)))
    call('PEXPIRE', key, PEOPLE_KEPT)
  end
  change_users(room, -call_all('HDEL', key, empty))
end

-- Keeps the list of incarnations that have rooms, and the lifetime of what this one has. A report that only repeats what is
-- stored renews it with the next audit.
local function hold(at, of, spoke, wrote)
  held_rooms, held_users = call('HLEN', at), call('SCARD', of)
  if held_rooms + held_users == 0 then
    call('SREM', holders, incarnation)
  elseif spoke then
    renew_due = call('SADD', holders, incarnation) == 1 or renew_due
    if wrote or audit_due then
      call('PEXPIRE', at, KEPT_WITH_ROOMS)
      call('PEXPIRE', of, KEPT_WITH_ROOMS)
    end
  end
end

function apply_rooms()
  local at, of = prefix .. 'at:' .. incarnation, prefix .. 'of:' .. incarnation
  local set, empty, pairs_here, pairs_gone, spoke = {}, {}, {}, {}, false
  for place, stored in ipairs(call('HMGET', at, unpack(names))) do
    local name, was = names[place], amount(stored)
    local is = said[place] or was
    spoke = spoke or said[place] or first_user[place]
    own_before[place], own_now[place] = was, is
    change(name, is - was)
    if is > 0 and stored ~= text(is) then
      set[#set + 1] = name
      set[#set + 1] = text(is)
    elseif is == 0 and stored then
      empty[#empty + 1] = name
    end
    if first_user[place] then
      apply_users(place, pairs_here, pairs_gone)
    end
  end
  call_all('HSET', at, set)
  call_all('HDEL', at, empty)
  local written = #set + call_all('SADD', of, pairs_here)
  call_all('SREM', of, pairs_gone)
  if former_tag then
    call_all('SREM', prefix .. 'of:' .. former, pairs_here)
    call_all('SREM', prefix .. 'of:' .. former, pairs_gone)
  end
  hold(at, of, spoke, written > 0)
end

-- What the reply says of the rooms that the report names.
function said_of_rooms()
  local counts_named = {}
  for place, name in ipairs(names) do
    counts_named[place] = count_of(name)
  end
  return { held_rooms, held_users, counts_named, elsewhere }
end
