-- Step 9, if an audit is due: count the site's total again from its parts. A part with a sequence but no lease belongs to an
-- instance whose lease was lost. It gets a new lease, which expires if the instance is dead. A part with neither belongs
-- to no instance and is deleted, unless all leases were lost: then it may belong to a live one, since the sequences may
-- be lost as well.

-- Make every lease end by `latest`. The clock of a damaged store has started again, below the expiries that it finds.
local latest = store.clock + (damaged and lease or LEASE_MAX)
local leased, found = {}, call('ZRANGE', leases, 0, -1, 'WITHSCORES')
for index = 1, #found, 2 do
  leased[found[index]] = true
  if tonumber(found[index + 1]) > latest then
    call('ZADD', leases, text(latest), found[index])
    expiry = math.min(expiry, latest)
  end
end

local sum, parts = wide.people, call('HGETALL', connections)
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
