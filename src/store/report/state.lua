-- Step 1, continued: refuse bad arguments, read the time and the stored state.

if not valid then
  return redis.error_reply('ERR headcount: bad argument')
end

local repaired = 0
local audit_due = kind == 'audit'

local function is_error(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

local function is_wrong_type(reply)
  return is_error(reply) and string.find(reply.err, '^WRONGTYPE') ~= nil
end

-- Ends the report. Some versions of Redis do not name the command that they deny, so it is added.
local function fail(command, reply)
  error({ err = reply.err .. ' (' .. command .. ')' })
end

-- Runs a command. If another program has stored another type in its key, the key is deleted, and the command runs
-- again. Any other error ends the report.
local function call(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if is_wrong_type(reply) then
    redis.pcall('DEL', key)
    repaired, audit_due = repaired + 1, true
    reply = redis.pcall(command, key, ...)
  end
  if is_error(reply) then
    fail(command, reply)
  end
  return reply
end

-- Runs a command with a list of arguments; none if the list is empty.
local function call_all(command, key, list)
  if #list == 0 then
    return 0
  end
  return call(command, key, unpack(list))
end

-- Runs a command that only reads, even before the fence: no key is deleted. A wrong type is returned as an error.
local function look(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if is_error(reply) and not is_wrong_type(reply) then
    fail(command, reply)
  end
  return reply
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- `announced_at`, `audited` and `recovering` (the end of the recovery; 0 if there is none) are times of the lease
-- clock. `heard` is the TIME of the last report of any instance.
--
-- Damaged means: the first report ever, or the data was flushed, expired, or edited by hand. What can still be read
-- is kept.
local values = look('HMGET', meta, 'total', 'revision', 'announced', 'announced_at', 'audited', 'recovering',
  'clock', 'heard', 'stamp', 'census', 'wide')
if is_error(values) then
  values = {}
end
local function stored_number(index)
  local number = tonumber(values[index] or '')
  return is_whole(number, WHOLE_MAX) and number or nil
end
local store = { total = stored_number(1), revision = stored_number(2), announced = stored_number(3),
  announced_at = stored_number(4), audited = stored_number(5), recovering = stored_number(6),
  clock = stored_number(7), heard = stored_number(8) }
-- A time in the future would never pass. A revision beyond the limit is accepted only if the reporter has seen one, too.
local possible = store.total and store.revision and store.announced and store.announced_at and store.audited
  and store.recovering and store.clock and store.heard
  and store.audited <= store.clock and store.announced_at <= store.clock
  and store.recovering <= store.clock + LEASE_MAX and store.announced <= store.revision
  and (store.revision <= REVISION_MAX or seen_revision > REVISION_MAX)
local damaged = not possible
if damaged then
  local believed = seen_revision > REVISION_MAX and WHOLE_MAX or REVISION_MAX
  local revision = store.revision and store.revision <= believed and store.revision or 0
  store = { total = 0, revision = revision, announced = 0, announced_at = -math.huge, audited = 0,
    recovering = 0, clock = 0, heard = now }
  audit_due = true
end
local shown = not damaged and store.total or nil -- the count that belongs to the stored revision
local reaped, crashed = 0, 0
local gone = {} -- incarnations that are no longer counted
local parts_lost = false -- counts of other instances are known to be missing
local leases_lost = false
local behind = false -- the store has an older state of this reporter than it acknowledged
local outcome = 'OK'

-- The stamp is stored with its revision. Version 0.2.0 makes revisions without stamps: then it is not known.
local stamped_revision, stamp = string.match(values[9] or '', '^(%d+) (%w+%.%d+)$')
if not stamped_revision or tonumber(stamped_revision) ~= store.revision then
  stamp = ''
end

-- Says whose report made a revision, and when, in microseconds. It tells two revisions of the same number apart, if data was
-- lost between. The sequence would not: the same report may arrive again after the loss, and make the same revision with
-- other counts.
local function make_stamp()
  return string.sub(incarnation, -8) .. '.' .. text(time[1] * 1000000 + time[2])
end

-- The census: how many instances there are, and a time before which no lease expires. It spares two commands in each
-- call. It holds only if this version made the last call: 0.2.0 leaves it as it was, but changes `heard`.
local counted_at, instances, expiry = string.match(values[10] or '', '^(%d+) (%d+) (%d+)$')
local others_reported = damaged or not counted_at or tonumber(counted_at) ~= store.heard -- or nobody has
if others_reported then
  instances, expiry = nil, 0
else
  instances, expiry = tonumber(instances), tonumber(expiry)
end

-- What matters only if there are rooms. `counted`: the revision of the last change of the site's count or of the
-- mark; `rooms`, `dead`: how many fields these keys have; `backlog`: how many rooms are unannounced; `paged`, `paged_at`:
-- revision and time of the last page; `cursor`, `index`, `site_cursor`: where audits go on; `marked`: 1 if the last
-- call left a mark; `audited`: when rooms were audited last, since version 0.2.0 audits without them; `people`: how many
-- users the site has.
local WIDE_FIELDS = { 'counted', 'rooms', 'dead', 'backlog', 'paged', 'paged_at', 'cursor', 'index', 'site_cursor',
  'marked', 'audited', 'people' }

local wide = { counted = store.revision, rooms = 0, dead = 0, backlog = 0, paged = 0, paged_at = 0, cursor = 0, index = 0,
  site_cursor = 0, marked = 0, audited = 0, people = 0 }
local wide_lost = damaged -- `wide` is not known
if values[11] and not damaged then
  local read, index = {}, 0
  for word in string.gmatch(values[11], '%S+') do
    index = index + 1
    read[WIDE_FIELDS[index] or ''] = tonumber(word)
    wide_lost = wide_lost or not is_whole(tonumber(word), WHOLE_MAX)
  end
  wide_lost = wide_lost or index ~= #WIDE_FIELDS
    or read.paged_at > store.clock or read.audited > store.clock or read.counted > store.revision or read.paged > store.revision
  if not wide_lost then
    wide = read
  end
end
if others_reported then
  wide.counted = store.revision
end
