-- Step 3: the lease clock, and whether this call deals with rooms.

-- The lease clock runs while reports come in. A long gap means that the store or all instances were unreachable, not
-- that one of them has died, so only a small part of it counts. It counts a little, or instances that die after a
-- single report could keep each other's leases alive without end. Jumps of TIME do no harm.
local gap = math.max(0, now - store.heard)
if gap > lease / 2 then
  gap = math.floor(lease / 8)
  audit_due = true
end
store.clock = store.clock + gap
store.heard = now
if store.clock - store.audited >= lease / 3 or (values[11] and store.clock - wide.audited >= lease / 3) then
  audit_due = true
end

-- Making a function takes time in Lua. So the functions of rooms are made only if there is anything for them to do.
local has_rooms = #names > 0 or wide.rooms > 0 or wide.dead > 0 or wide.backlog > 0
  or (values[11] and (store.recovering > 0 or wide.marked == 1))
-- Audits, farewells, burials, and calls that may remove an instance also look for rooms of which `wide` does not know, and
-- for users of the site, who are in no room. For a user of Redis without rights on these
-- keys there are no rooms, and the site is counted all the same; only a report that names rooms ends here. `hidden`: what
-- such a call does not know of rooms, and keeps in `wide`.
local hidden
if has_rooms or audit_due or kind == 'farewell' or former ~= '' or store.clock > expiry then
  local found = redis.pcall('EXISTS', prefix .. 'holders', prefix .. 'rooms', prefix .. 'dead')
  if is_error(found) then
    if #names > 0 then
      fail('EXISTS', found)
    end
    has_rooms, hidden = false, { rooms = wide.rooms, dead = wide.dead, backlog = wide.backlog, people = wide.people }
    wide.rooms, wide.dead, wide.backlog, wide.people = 0, 0, 0, 0
    wide.audited = audit_due and store.clock or wide.audited
  elseif not has_rooms and (found > 0 or wide.people > 0) then
    has_rooms, wide_lost = true, wide.people == 0
  end
end
-- They are set below if there are rooms.
local change, count_of, mark_dead, read_wide_again, forget_rooms, forget_site, take_away, audit_rooms, apply_rooms, settle
local said_of_rooms, announce_page, end_recovery
local changed = {} -- rooms whose count is another now
local renew_due = false -- a key was made that has no TTL yet
