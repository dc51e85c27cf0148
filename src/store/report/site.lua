-- Step 4: the site's count. Apply the report, bury the reporter's former incarnation, remove expired leases.

-- The site's users with an identity, whom all incarnations that have them share.
local function site_users()
  return has_rooms and call('HLEN', prefix .. 'people:/') or 0
end

-- Returns what this instance had reported. If the connections hash is missing although the total is not 0, the counts
-- of the other instances are unknown for now.
local function read_part()
  local stored = call('HGET', connections, incarnation)
  if type(stored) == 'string' then
    return stored
  end
  local are_missing = store.total > 0 and call('EXISTS', connections) == 0
  if are_missing and store.total > site_users() then
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

-- Counts an incarnation out of the site.
local function count_out(owner)
  store.total = store.total - part(call('HGET', connections, owner))
  local removed = call('HDEL', connections, owner)
  instances = instances and instances - removed
end

local function renew_lease()
  local is_new = call('ZADD', leases, text(store.clock + lease), incarnation) == 1
  expiry = math.min(expiry, store.clock + lease)
  if is_new then
    leases_lost = call('ZCARD', leases) == 1 -- or this is the very first report
    audit_due = audit_due or leases_lost
  end
end

-- A former incarnation of the reporter: what it had said is void, and so is what it may still say. That the reporter's
-- new incarnation is counted in the same step keeps the site's count from dropping.
local function bury(owner)
  if call('HGET', sequences, owner) == CLOSED then
    return
  end
  count_out(owner)
  call('HSET', sequences, owner, CLOSED)
  call('ZADD', leases, text(store.clock + lease), owner)
  gone[#gone + 1] = owner
  if mark_dead then
    mark_dead(owner)
  end
end

-- Applies the count. It is absolute, so applying it twice is the same as once. A count of 0 is stored too, since the
-- fields are the live instances. A farewell leaves its sequence and its lease as a tombstone. They fence off late
-- reports of the same incarnation for as long as one can be under way.
local function apply()
  local stored = read_part()
  renew_lease()
  if not fenced then
    call('HSET', sequences, incarnation, text(sequence))
  end
  if kind == 'farewell' then
    count_out(incarnation)
    gone[#gone + 1] = incarnation
    if mark_dead then
      mark_dead(incarnation)
    end
  elseif stored ~= text(users) then
    local added = call('HSET', connections, incarnation, text(users))
    instances = instances and instances + added
    store.total = store.total + users - part(stored)
  end
  if former ~= '' then
    bury(former)
  end
end

-- Whether a lease may have expired. Mostly the census says that none has.
local function may_have_expired()
  if store.clock <= expiry and not audit_due then
    return false
  end
  local first = call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  expiry = math.floor(tonumber(first[2] or '0'))
  return expiry < store.clock
end

-- Removes the instances whose lease has expired.
local function reap()
  if not may_have_expired() then
    return
  end
  local expired = call('ZRANGEBYSCORE', leases, '-inf', '(' .. text(store.clock), 'LIMIT', 0, REAPED_MAX)
  reaped, expiry = #expired, 0
  for _, stored in ipairs(call('HMGET', connections, unpack(expired))) do
    store.total = store.total - part(stored)
    crashed = crashed + (stored and 1 or 0)
  end
  local removed = call('HDEL', connections, unpack(expired))
  instances = instances and instances - removed
  call('HDEL', sequences, unpack(expired))
  call('ZREM', leases, unpack(expired))
  for _, owner in ipairs(expired) do
    gone[#gone + 1] = owner
    if mark_dead then
      mark_dead(owner)
    end
  end
end

-- Makes every lease end by `latest`. The clock of a damaged store has started again, below the expiries that it
-- finds.
local function clamp_leases()
  local latest = store.clock + (damaged and lease or LEASE_MAX)
  local leased, found = {}, call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  for index = 1, #found, 2 do
    leased[found[index]] = true
    if tonumber(found[index + 1]) > latest then
      call('ZADD', leases, text(latest), found[index])
      expiry = math.min(expiry, latest)
    end
  end
  return leased
end

-- Step 9: count the total again from its parts. A part with a sequence but no lease belongs to an instance whose
-- lease was lost. It gets a new lease, which expires if the instance is dead. A part with neither belongs to no
-- instance and is deleted, unless all leases were lost: then it may belong to a live one, since the sequences may be
-- lost as well.
local function audit()
  local leased, sum = clamp_leases(), site_users()
  local parts = call('HGETALL', connections)
  instances = #parts / 2
  for index = 1, #parts, 2 do
    local owner, count = parts[index], tonumber(parts[index + 1])
    local known = leases_lost or leased[owner] or call('HEXISTS', sequences, owner) == 1
    if known and is_whole(count, LOCAL_MAX) then
      sum = sum + count
      if not leased[owner] then
        call('ZADD', leases, text(store.clock + lease), owner)
        expiry = math.min(expiry, store.clock + lease)
        repaired = repaired + 1
      end
    else
      instances = instances - call('HDEL', connections, owner)
      repaired = repaired + 1
      parts_lost = parts_lost or known -- it was an instance's count, which is now unknown
    end
  end
  if shown and store.total ~= sum then
    repaired = repaired + 1
  end
  store.total, store.audited = sum, store.clock
end
