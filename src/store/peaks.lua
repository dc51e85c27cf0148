-- The peaks of the site: adds what an instance knows to what is stored, and says who is alive. All in one atomic call.
--
-- KEYS 1 {currentUsers}:peaks        hash    `ever` and one field for each day of UTC, such as `2026-11-26`, each of them
--                                            {"count":5,"at":1764172800000}: users, and ms since 1970 by TIME
--      2 {currentUsers}:connections  3 {currentUsers}:sequence  4 {currentUsers}:meta  5 {currentUsers}:dead
--        (see report.lua; only read)
-- ARGV 1 tell | read: `read` writes nothing, and leaves out who is alive
--      2.. what the instance knows: users and time of the peak ever (0, 0 for none), then of each day
-- Reply { TIME in ms, { users, at } of the peak ever | {}, { users, at, .. } of each day, revision,
--         { incarnation, last sequence, 1 if it is counted | 0 after its farewell, .. },
--         1 while users of ended incarnations are still in the count, else 0 }

local peaks, connections, sequences, meta, dead = unpack(KEYS)
local tells = ARGV[1] == 'tell'

local DAY = 86400000
local DAYS_MAX = 8
local USERS_MAX = 1e12
local TIME_MAX = 253402300799999 -- the end of the year 9999
local WHOLE_MAX = 2 ^ 53 - 2 -- exact in a Lua number, and the next integer is too
local KEPT = 400 * DAY -- ms; longer than any site is stopped and still goes on

local function is_whole(number, max)
  return number ~= nil and number >= 0 and number <= max and number == math.floor(number)
end

local function is_peak(users, at)
  return is_whole(users, USERS_MAX) and users > 0 and is_whole(at, TIME_MAX)
end

-- Lua's own conversion writes 1e14 and above in exponent form.
local function text(number)
  return string.format('%.0f', number)
end

-- Reads a key of another program's type as if it were empty. The next report or call puts it right.
local function read(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then
    return reply, false
  end
  if string.find(reply.err, '^WRONGTYPE') then
    return {}, true
  end
  error({ err = reply.err .. ' (' .. command .. ')' })
end

-- The name of the day of a time: a date of the Gregorian calendar, counted from 1 March of the year 0, so that the day that
-- only some years have is the last one of its year.
local function day_of(at)
  local days = math.floor(at / DAY) + 719468
  local era = math.floor(days / 146097) -- 400 years
  local rest = days - era * 146097
  local year = rest - math.floor(rest / 1460) + math.floor(rest / 36524) - math.floor(rest / 146096)
  year = math.floor(year / 365)
  rest = rest - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * rest + 2) / 153)
  local day = rest - math.floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  year = era * 400 + year + (month <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02d', year, month, day)
end

local function parse(stored)
  local users, at = string.match(stored, '^{"count":(%d+),"at":(%d+)[,}]')
  users, at = tonumber(users or ''), tonumber(at or '')
  return is_peak(users, at) and { users = users, at = at } or nil
end

-- Step 1: check the arguments, read the time and what is stored. Values that are no peaks count as missing.

local given, valid = {}, (tells or ARGV[1] == 'read') and #ARGV % 2 == 1
for index = 2, #ARGV - 1, 2 do
  local users, at = tonumber(ARGV[index]), tonumber(ARGV[index + 1])
  local is_none = index == 2 and users == 0 and at == 0
  valid = valid and (is_none or is_peak(users, at))
  given[index / 2] = not is_none and { users = users, at = at }
end
if not valid then
  return redis.error_reply('ERR headcount: bad argument')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local ever, days, unwanted = nil, {}, {}
local stored, is_wrong_type = read('HGETALL', peaks)
local before = {}
for index = 1, #stored, 2 do
  local field, value = stored[index], stored[index + 1]
  local peak = parse(value)
  before[field] = value
  if field == 'ever' then
    ever = peak
    unwanted[#unwanted + 1] = not peak and field or nil
  elseif peak and day_of(peak.at) == field then
    days[field] = peak
  elseif string.find(field, '^%d+%-%d+%-%d+$') then
    unwanted[#unwanted + 1] = field
  end -- anything else is a later version's
end

-- Step 2: add what the instance knows. Of equals the one that was told first stands.

local function higher(known, other)
  return (not known or other.users > known.users) and other or known
end

for index, peak in ipairs(given) do
  if peak and index > 1 then
    local day = day_of(peak.at)
    days[day] = higher(days[day], peak)
  end
  ever = peak and higher(ever, peak) or ever
end
local names = {}
for day in pairs(days) do
  names[#names + 1] = day
end
table.sort(names)
for _, day in ipairs(names) do
  ever = higher(ever, days[day])
end

-- Step 3: forget the oldest days, but not the current one. It may be among them after the clock was wrong.
local today = day_of(now)
while #names > DAYS_MAX do
  local oldest = names[1] == today and 2 or 1
  days[names[oldest]] = nil
  unwanted[#unwanted + 1] = table.remove(names, oldest)
end

-- Step 4: store what has changed. The key lives on when all instances are stopped.
local function store(field, peak)
  local value = '{"count":' .. text(peak.users) .. ',"at":' .. text(peak.at) .. '}'
  if before[field] ~= value then
    redis.call('HSET', peaks, field, value)
    return true
  end
  return false
end

if tells then
  if is_wrong_type then
    redis.call('DEL', peaks)
  end
  for _, field in ipairs(unwanted) do
    redis.call('HDEL', peaks, field)
  end
  local is_new = ever and store('ever', ever)
  for _, day in ipairs(names) do
    is_new = store(day, days[day]) or is_new
  end
  if is_new or (ever and redis.call('PTTL', peaks) < KEPT - DAY) then
    redis.call('PEXPIRE', peaks, KEPT)
  end
end

-- Step 5: who is alive. An instance that crashed has neither connections nor a sequence once its lease has ended.
local attendance, revision, has_dead = {}, 0, 0
if tells then
  local last, is_live = {}, {}
  local numbers = read('HGETALL', sequences)
  for index = 1, #numbers, 2 do
    local number = math.min(tonumber(numbers[index + 1]) or 0, WHOLE_MAX)
    last[numbers[index]] = is_whole(number, WHOLE_MAX) and number or 0
  end
  local parts = read('HGETALL', connections)
  for index = 1, #parts, 2 do
    is_live[parts[index]] = true
    last[parts[index]] = last[parts[index]] or 0
  end
  for incarnation, number in pairs(last) do
    attendance[#attendance + 1] = incarnation
    attendance[#attendance + 1] = text(number)
    attendance[#attendance + 1] = is_live[incarnation] and 1 or 0
  end
  local value = read('HGET', meta, 'revision')
  value = type(value) == 'string' and tonumber(value) or 0
  revision = is_whole(value, WHOLE_MAX) and value or 0
  local waiting = read('HLEN', dead)
  has_dead = type(waiting) == 'number' and waiting > 0 and 1 or 0
end

local listed = {}
for _, day in ipairs(names) do
  listed[#listed + 1] = text(days[day].users)
  listed[#listed + 1] = text(days[day].at)
end
return { text(now), ever and { text(ever.users), text(ever.at) } or {}, listed, text(revision), attendance, has_dead }
