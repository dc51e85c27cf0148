-- Step 4: the site's count. Apply the report, bury the reporter's former incarnation, remove expired leases.

-- What a field of the connections hash adds to the total. A value that is no count adds nothing, and causes an audit.
local function part(stored)
  local number = tonumber(stored or '')
  if is_whole(number, LOCAL_MAX) then
    return number
  end
  audit_due = audit_due or stored ~= false
  return 0
end

-- What this instance had reported. If the connections hash is missing although the total is not 0, the counts of the other
-- instances are unknown for now.
local stored_part = call('HGET', connections, incarnation)
if not stored_part and store.total > 0 and call('EXISTS', connections) == 0 and store.total > wide.people then
  parts_lost, audit_due = true, true
end

-- A lease that is not there has ended, or this is the first report, or somebody has deleted it.
if call('ZADD', leases, text(store.clock + lease), incarnation) == 1 and call('ZCARD', leases) == 1 then
  leases_lost, audit_due = true, true -- or this is the very first report
end
expiry = math.min(expiry, store.clock + lease)

-- Apply the count. It is absolute, so applying it twice is the same as once. A count of 0 is stored too, since the
-- fields are the live instances. A farewell leaves its sequence and its lease as a tombstone. They fence off late
-- reports of the same incarnation for as long as one can be under way.
if not fenced then
  call('HSET', sequences, incarnation, text(sequence))
end
local leaving = { former ~= '' and former or nil } -- incarnations that are counted out without having died
if kind == 'farewell' then
  leaving[#leaving + 1] = incarnation
elseif stored_part ~= text(users) then
  local added = call('HSET', connections, incarnation, text(users))
  instances = instances and instances + added
  store.total = store.total + users - part(stored_part)
end

-- The former incarnation of a reporter is buried: what it had said is void, and so is what it may still say. That the
-- reporter's new incarnation is counted in the same step keeps the site's count from dropping.
if former ~= '' and call('HGET', sequences, former) ~= CLOSED then
  call('HSET', sequences, former, CLOSED)
  call('ZADD', leases, text(store.clock + lease), former)
end
for _, owner in ipairs(leaving) do
  store.total = store.total - part(call('HGET', connections, owner))
  local removed = call('HDEL', connections, owner)
  instances = instances and instances - removed
  gone[#gone + 1] = owner
end

-- Remove the instances whose lease has expired. Mostly the census says that none has.
if store.clock > expiry or audit_due then
  local first = call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  expiry = math.floor(tonumber(first[2] or '0'))
end
if expiry < store.clock then
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
  end
end
