-- Reads who is in a room, for a list of its users with a token: first those who are on the list already, then others, until
-- the list is full. It changes nothing.
--
-- One call looks at about PORTION * SCANS users, so that it blocks Redis for a fraction of a millisecond. In a larger room further
-- calls go on where the last one ended.
--
-- KEYS 1 {currentUsers}:people:<room>  hash  user -> the tags of the incarnations that have him, then perhaps {JSON}
--      2 {currentUsers}:meta           hash  revision, recovering
-- ARGV 1 the tag of the incarnation that asks   2 where to go on: 0 in the first call, then what the last reply said
--      3... in the first call the users who are on the list; in further calls those whom the replies have named
-- Reply { how many more this part has, revision of the store, 1 while it recovers,
--         { for each user that this call adds: id, what is known of him as JSON or '',
--           1 if another incarnation than the one that asks has him },
--         where to go on, 0 if this was the last part }
--
-- While Redis makes the hash larger or smaller, a user who does not fit on the list may be counted twice.

local people, meta, own_tag, cursor = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local LISTED_MAX, PORTION, SCANS = 100, 500, 2
local FIRST_USER = 3 -- in ARGV
local WITH_TOKEN = '^t:'

local list, space, more = {}, LISTED_MAX, 0
local seen = {}

local function add(user, value)
  seen[user] = true
  if space == 0 then
    more = more + 1
    return
  end
  space = space - 1
  local cut = string.find(value, '{', 1, true)
  local tags = cut and string.sub(value, 1, cut - 1) or value
  list[#list + 1] = user
  list[#list + 1] = cut and string.sub(value, cut) or ''
  list[#list + 1] = tags == own_tag and '0' or '1'
end

if cursor ~= '0' then
  for index = FIRST_USER, #ARGV do
    seen[ARGV[index]] = true
    space = space - 1
  end
elseif #ARGV >= FIRST_USER then
  local values = redis.call('HMGET', people, unpack(ARGV, FIRST_USER))
  for index, value in ipairs(values) do
    local user = ARGV[FIRST_USER + index - 1]
    if value and not seen[user] and string.find(user, WITH_TOKEN) then
      add(user, value)
    end
  end
end

local scans = 0
repeat
  local page = redis.call('HSCAN', people, cursor, 'MATCH', 't:*', 'COUNT', PORTION)
  cursor = page[1]
  for index = 1, #page[2], 2 do
    local user = page[2][index]
    if not seen[user] then
      add(user, page[2][index + 1])
    end
  end
  scans = scans + 1
until cursor == '0' or scans == SCANS

local revision, recovering = unpack(redis.call('HMGET', meta, 'revision', 'recovering'))
return { more, revision or '0', tonumber(recovering or '0') ~= 0 and 1 or 0, list, cursor }
