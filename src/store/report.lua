-- An instance reports its local count, in one atomic step. A report that is lost, repeated or late does no harm.
--
-- KEYS 1 currentUsers                string  the count, a plain integer; absent means 0
--      2 {currentUsers}:connections  hash    incarnation -> its absolute local count
--      3 {currentUsers}:sequence     hash    incarnation -> the last sequence applied
--      4 {currentUsers}:leases       zset    incarnation -> expiry, in ms of the lease clock
--      5 {currentUsers}:meta         hash    the fields named in META_FIELDS
-- No key of the call, since it may be forbidden: {currentUsers}:about, hash, incarnation -> its name, as JSON
-- ARGV 1 incarnation   2 sequence   3 local count   4 lease, in ms
--      5 highest revision seen   6 the count seen with it
--      7 report | farewell | audit   8 channel   9 number of the database, for announcements
--      10 the reporter's name and version, as JSON; empty if the store was told before
-- Reply { OK | STALE, count, revision, announced revision, instances, sequence stored before,
--         recovering 0 | 1, leases reaped, values repaired, how many of those reaped were still counted }
--
-- An error other than WRONGTYPE (a missing permission, or a slot of a cluster that is being moved) ends the report.
-- It says nothing about the value of a key, so no key is deleted for it. If possible it comes before the first write.
-- If a report ends after some of its writes, the next audit repairs them.
--
-- Invariants after every call that is not STALE: the public key is the sum of the connections hash; the sum is never
-- negative; if the count differs from the one that this reporter had seen, the revision is higher.

local public, connections, sequences, leases, meta = unpack(KEYS)
local incarnation, kind, channel, database = ARGV[1], ARGV[7], ARGV[8], tonumber(ARGV[9])
local sequence, users, lease = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local seen_revision, seen_count = tonumber(ARGV[5]), tonumber(ARGV[6])
local introduction = ARGV[10]
local abouts = '{' .. public .. '}:about' -- in the same slot as the others

-- `announced_at`, `audited` and `recovering` (the end of the recovery; 0 if there is none) are times of the lease
-- clock. `heard` is the TIME of the last report of any instance.
local META_FIELDS =
  { 'total', 'revision', 'announced', 'announced_at', 'audited', 'recovering', 'clock', 'heard' }
local KINDS = { report = true, farewell = true, audit = true }

local WHOLE_MAX = 2 ^ 53 - 2 -- exact in a Lua number, and the next integer is too
local REVISION_MAX = 2 ^ 52 -- leaves room for more revisions; no store gets there by counting
local LOCAL_MAX = 1e9
local LEASE_MIN, LEASE_MAX = 100, 300000
local NAME_BYTES_MAX = 128
local ABOUT_BYTES_MAX = 512
local REAPED_MAX = 128 -- bounds how long one call blocks Redis
local KEPT = 600000 -- ms; a long pause of Redis must not delete the parts
local ANNOUNCEMENT_GAP = 0.25 -- ms for each instance, since Redis sends every message to each of them

local function is_whole(number, max)
  return number ~= nil and number >= 0 and number <= max and number == math.floor(number)
end

-- Lua's own conversion writes 1e14 and above in exponent form.
local function text(number)
  return string.format('%.0f', number)
end

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

-- Runs a command; an error ends the report.
local function call(command, ...)
  local reply = redis.pcall(command, ...)
  if is_error(reply) then
    fail(command, reply)
  end
  return reply
end

-- Runs a command whose key may have the wrong type: that error is returned; any other error ends the report.
local function read(command, ...)
  local reply = redis.pcall(command, ...)
  if is_error(reply) and not is_wrong_type(reply) then
    fail(command, reply)
  end
  return reply
end

-- Step 1: check the arguments, read the time, make a first write, read the stored state.

local valid = incarnation and #incarnation > 0 and #incarnation <= NAME_BYTES_MAX
  and channel and KINDS[kind]
  and is_whole(sequence, WHOLE_MAX) and is_whole(users, LOCAL_MAX)
  and is_whole(lease, LEASE_MAX) and lease >= LEASE_MIN
  and is_whole(seen_revision, WHOLE_MAX) and is_whole(seen_count, WHOLE_MAX)
  and is_whole(database, WHOLE_MAX) and introduction and #introduction <= ABOUT_BYTES_MAX
if not valid then
  return redis.error_reply('ERR headcount: bad argument')
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- This write needs no memory and changes nothing. A server that accepts no writes answers with an error here, before
-- any harm is done. A server that is out of memory lets a script finish once it has begun to write.
local meta_unreadable = is_wrong_type(read('HDEL', meta, ''))

-- False if a time is in the future, which would never pass, or if the revision is beyond the limit. Such a revision
-- is accepted only if the reporter has seen one too.
local function is_possible(store)
  return store.audited <= store.clock and store.announced_at <= store.clock
    and store.recovering <= store.clock + LEASE_MAX
    and (store.revision <= REVISION_MAX or seen_revision > REVISION_MAX)
end

-- Damaged means: the first report ever, or the data was flushed, expired, or edited by hand. What can still be read
-- is kept.
local store, damaged = {}, meta_unreadable
local values = meta_unreadable and {} or call('HMGET', meta, unpack(META_FIELDS))
for index, field in ipairs(META_FIELDS) do
  store[field] = tonumber(values[index] or '')
  damaged = damaged or not is_whole(store[field], WHOLE_MAX)
end
damaged = damaged or not is_possible(store)
if damaged then
  local believed = seen_revision > REVISION_MAX and WHOLE_MAX or REVISION_MAX
  local revision = is_whole(store.revision, believed) and store.revision or 0
  store = { total = 0, revision = revision, announced = 0, announced_at = -math.huge, audited = 0,
    recovering = 0, clock = 0, heard = now }
end
local shown = not damaged and store.total or nil -- the count that belongs to the stored revision
local reaped, crashed, repaired = 0, 0, 0
local gone = {} -- incarnations that are no longer counted
local audit_due = damaged or kind == 'audit'
local parts_lost = false -- counts of other instances are known to be missing
local leases_lost = false

-- The lease clock runs while reports come in. A long gap means that the store or all instances were unreachable, not
-- that one of them has died, so only a small part of it counts. It counts a little, or instances that die after a
-- single report could keep each other's leases alive without end. Jumps of TIME do no harm.
local function run_lease_clock()
  local gap = math.max(0, now - store.heard)
  if gap > lease / 2 then
    gap = math.floor(lease / 8)
    audit_due = true
  end
  store.clock = store.clock + gap
  store.heard = now
  if store.clock - store.audited >= lease / 3 then
    audit_due = true
  end
end

-- Deletes a key of Headcount in which another program stored another type, before it can stop a report after some of
-- its writes.
local function drop_if_wrong_type(key, reply)
  if is_wrong_type(reply) then
    call('DEL', key)
    repaired = repaired + 1
    audit_due = true
  end
end

-- Returns what this instance had reported. If the connections hash is missing although the total is not 0, the counts
-- of the other instances are unknown for now.
local function read_parts(fence)
  local stored = read('HGET', connections, incarnation)
  local leased = read('ZCARD', leases)
  drop_if_wrong_type(connections, stored)
  drop_if_wrong_type(sequences, fence)
  drop_if_wrong_type(leases, leased)
  if meta_unreadable then
    call('DEL', meta)
  end
  leases_lost = is_error(leased) or leased == 0 -- or this is the very first report
  audit_due = audit_due or leases_lost
  if type(stored) == 'string' then
    return stored
  end
  if store.total > 0 and call('EXISTS', connections) == 0 then
    parts_lost, audit_due = true, true
  end
  return false
end

-- What a field of the connections hash adds to the total. A value that is no count adds nothing, and causes an audit.
local function part(stored)
  local number = tonumber(stored or '')
  if is_whole(number, LOCAL_MAX) then
    return number
  end
  audit_due = audit_due or stored ~= false
  return 0
end

-- Step 3: apply the count. It is absolute, so applying it twice is the same as once. A count of 0 is stored too,
-- since the fields are the live instances. A farewell leaves its sequence and its lease as a tombstone. They fence
-- off late reports of the same incarnation for as long as one can be under way.
local function apply(stored)
  local leaving = kind == 'farewell'
  call('ZADD', leases, text(store.clock + lease), incarnation)
  call('HSET', sequences, incarnation, text(sequence))
  if leaving then
    users = 0
    gone = { incarnation }
    call('HDEL', connections, incarnation)
  elseif stored ~= text(users) then
    call('HSET', connections, incarnation, text(users))
  end
  store.total = store.total + users - part(stored)
end

-- Step 4: remove the instances whose lease has expired.
local function reap()
  local expired = call('ZRANGEBYSCORE', leases, '-inf', '(' .. text(store.clock),
    'LIMIT', 0, REAPED_MAX)
  reaped = #expired
  if reaped == 0 then
    return
  end
  for _, stored in ipairs(call('HMGET', connections, unpack(expired))) do
    store.total = store.total - part(stored)
    crashed = crashed + (stored and 1 or 0)
  end
  call('HDEL', connections, unpack(expired))
  call('HDEL', sequences, unpack(expired))
  call('ZREM', leases, unpack(expired))
  gone = expired
end

-- Makes every lease end by `latest`. The clock of a damaged store has started again, below the expiries that it
-- finds.
local function clamp_leases()
  local latest = store.clock + (damaged and lease or LEASE_MAX)
  local leased, entries = {}, call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  for index = 1, #entries, 2 do
    leased[entries[index]] = true
    if tonumber(entries[index + 1]) > latest then
      call('ZADD', leases, text(latest), entries[index])
    end
  end
  return leased
end

-- Step 5: count the total again from its parts. A part with a sequence but no lease belongs to an instance whose
-- lease was lost. It gets a new lease, which expires if the instance is dead. A part with neither belongs to no
-- instance and is deleted, unless all leases were lost: then it may belong to a live one, since the sequences may be
-- lost as well.
local function audit()
  local leased, sum = clamp_leases(), 0
  local parts = call('HGETALL', connections)
  for index = 1, #parts, 2 do
    local owner, count = parts[index], tonumber(parts[index + 1])
    local known = leases_lost or leased[owner] or call('HEXISTS', sequences, owner) == 1
    if known and is_whole(count, LOCAL_MAX) then
      sum = sum + count
      if not leased[owner] then
        call('ZADD', leases, text(store.clock + lease), owner)
        repaired = repaired + 1
      end
    else
      call('HDEL', connections, owner)
      repaired = repaired + 1
      parts_lost = parts_lost or known -- it was an instance's count, which is now unknown
    end
  end
  if shown and store.total ~= sum then
    repaired = repaired + 1
  end
  store.total, store.audited = sum, store.clock
end

-- Step 6: set the revision. Revisions grow even if Redis loses data. A reporter that has seen a higher one than the
-- store has found it rolled back or empty. Until every instance has had the time to report, the count is marked as
-- recovering, and instances show their estimates. The mark lasts longer than every lease that came back with old
-- data; otherwise the users of dead instances would be counted for a moment. The end of the mark is a new revision
-- too, so that a view only needs the rule "accept only a greater revision".
local function revise()
  local reused = seen_revision == store.revision and seen_count ~= shown
  local forgot = seen_revision > 0 and (seen_revision > store.revision or reused)
  local lost = forgot or parts_lost
  local recovered = store.recovering > 0 and store.clock > store.recovering
  if lost then
    store.recovering = store.clock + lease
  elseif recovered then
    store.recovering = 0
  end
  if lost or recovered or store.total ~= shown then
    store.revision = math.max(store.revision, seen_revision) + 1
  end
end

-- Step 7: set the public key to the total, whatever its value was. It expires soon after the last instance has ended.
local function show(stands)
  if shown and stands and stands ~= text(shown) then
    repaired = repaired + 1
  end
  if stands == text(store.total) then
    return
  end
  if shown and stands == text(shown) then
    call('INCRBY', public, text(store.total - shown))
    return
  end
  call('SET', public, text(store.total), 'PX', 2 * lease)
end

-- Runs a command on the names of instances. If it is denied, counting goes on. A key of another type is deleted.
local function tell(command, ...)
  local told = redis.pcall(command, abouts, ...)
  if is_wrong_type(told) then
    repaired = repaired + (redis.pcall('DEL', abouts) == 1 and 1 or 0)
    told = redis.pcall(command, abouts, ...)
  end
  return not is_error(told) and told or 0
end

-- Step 8: store the names of instances, and remove those of instances that are gone. If there are more names than
-- instances, an instance of another version has counted one out and left its name: then all such names are removed.
local function introduce(instances)
  local is_new = false
  if #gone > 0 then
    tell('HDEL', unpack(gone))
  end
  if introduction ~= '' and kind ~= 'farewell' then
    is_new = tell('HSET', incarnation, introduction) == 1
    tell('PEXPIRE', KEPT)
  end
  if (audit_due or is_new) and tell('HLEN') > instances then
    for _, owner in ipairs(redis.pcall('HKEYS', abouts)) do
      if call('HEXISTS', connections, owner) == 0 then
        tell('HDEL', owner)
      end
    end
  end
end

-- Step 9: announce the count. It is published inside the script, so that the order on the channel is the order of
-- revisions. A change that comes too early is announced with the next report of any instance. The message names its
-- key and database, since others use the channel too. Returns the error if PUBLISH is denied.
local function announce(instances)
  local too_early = store.clock - store.announced_at < instances * ANNOUNCEMENT_GAP
  if store.announced == store.revision or too_early then
    return
  end
  local mark = store.recovering > 0 and ',"recovering":true' or ''
  local published = redis.pcall('PUBLISH', channel,
    '{"count":' .. text(store.total) .. ',"revision":' .. text(store.revision) .. mark
    .. ',"key":' .. cjson.encode(public) .. ',"database":' .. text(database) .. '}')
  if is_error(published) then
    return { err = published.err .. ' (PUBLISH)' }
  end
  store.announced, store.announced_at = store.revision, store.clock
end

local function save()
  local fields = {}
  for _, field in ipairs(META_FIELDS) do
    fields[#fields + 1] = field
    fields[#fields + 1] = text(store[field])
  end
  call('HSET', meta, unpack(fields))
end

local function renew_ttls()
  call('PEXPIRE', public, 2 * lease)
  for _, key in ipairs({ connections, sequences, leases, meta }) do
    call('PEXPIRE', key, KEPT)
  end
end

local function reply(outcome, instances, last)
  return { outcome, store.total, store.revision, store.announced, instances, last or 0,
    store.recovering > 0 and 1 or 0, reaped, repaired, crashed }
end

-- Step 2, the fence: a report that is not newer than the last one changes nothing and renews nothing. A stored value
-- that is no sequence is ignored.
local fence = read('HGET', sequences, incarnation)
local last = not is_error(fence) and tonumber(fence or '') or nil
last = is_whole(last, WHOLE_MAX) and last or nil
if last and sequence <= last then
  local instances = read('HLEN', connections)
  return reply('STALE', is_error(instances) and 0 or instances, last)
end

run_lease_clock()
local stands = read('GET', public)
apply(read_parts(fence))
reap()
if audit_due or not is_whole(store.total, WHOLE_MAX) then
  audit()
end
revise()
show(stands)
local instances = call('HLEN', connections)
introduce(instances)
local unpublished = announce(instances)
save()
if audit_due then
  renew_ttls()
end
return unpublished or reply('OK', instances, last)
