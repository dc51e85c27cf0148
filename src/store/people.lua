-- Reads who is in a room, for a list of its users with a token: first those who are on the list already, then others, until
-- the list is full. It changes nothing.
--
-- KEYS 1 {currentUsers}:people:<room>  hash  user -> the tags of the incarnations that have him, then perhaps {JSON}
--      2 {currentUsers}:meta           hash  revision, recovering
-- ARGV 1 the tag of the incarnation that asks   2... the users who are on the list
-- Reply { how many more there are, revision of the store, 1 while it recovers,
--         { for each user of the list: id, what is known of him as JSON or '',
--           1 if another incarnation than the one that asks has him } }
--
-- In a room of more than LOOKED_AT_MAX users, only a part is read. How many more there are includes visitor keys then.

local people, meta, own_tag = KEYS[1], KEYS[2], ARGV[1]
local LISTED_MAX, LOOKED_AT_MAX, PORTION = 100, 500, 100
local SCANS_MAX = 20 -- a hash from which many were removed has gaps
local WITH_TOKEN = '^t:'

local list, listed, more = {}, 0, 0
local seen = {}

local function add(user, value)
  seen[user] = true
  if listed == LISTED_MAX then
    more = more + 1
    return
  end
  listed = listed + 1
  local cut = string.find(value, '{', 1, true)
  local tags = cut and string.sub(value, 1, cut - 1) or value
  list[#list + 1] = user
  list[#list + 1] = cut and string.sub(value, cut) or ''
  list[#list + 1] = tags == own_tag and '0' or '1'
end

if #ARGV > 1 then
  local values = redis.call('HMGET', people, unpack(ARGV, 2))
  for index, value in ipairs(values) do
    local user = ARGV[index + 1]
    if value and not seen[user] and string.find(user, WITH_TOKEN) then
      add(user, value)
    end
  end
end

local total, cursor, read, scans = redis.call('HLEN', people), '0', 0, 0
repeat
  local page = redis.call('HSCAN', people, cursor, 'COUNT', PORTION)
  cursor = page[1]
  for index = 1, #page[2], 2 do
    local user = page[2][index]
    read = read + 1
    if string.find(user, WITH_TOKEN) and not seen[user] then
      add(user, page[2][index + 1])
    end
  end
  scans = scans + 1
until cursor == '0' or read >= LOOKED_AT_MAX or scans == SCANS_MAX

if cursor ~= '0' then
  more = math.max(more, total - listed)
end
local revision, recovering = unpack(redis.call('HMGET', meta, 'revision', 'recovering'))
return { more, revision or '0', tonumber(recovering or '0') ~= 0 and 1 or 0, list }
