-- Step 10: the revision, the mark, and the public key.

-- Whether the store has lost something that this reporter knew: it has seen a higher revision than the store has, or the
-- same one, but of another report. Version 0.2.0 knows no stamps; then the site's count is compared, and a missing stamp is
-- no sign of a loss.
local forgot = seen_revision > store.revision
if seen_revision == store.revision and seen_revision > 0 then
  if seen_stamp == '' or damaged then
    forgot = seen_count ~= shown
  else
    forgot = stamp ~= '' and seen_stamp ~= stamp
  end
end

-- Revisions grow even if Redis loses data. A reporter that has seen a higher one than the store has found it rolled back
-- or empty. Until every instance has had the time to report, counts are marked as recovering, and instances show their
-- estimates. The mark lasts longer than every lease that came back with old data, than every reporter that is still
-- telling its rooms, and than the rooms of the dead; otherwise users of dead instances would be counted for a moment. The
-- end of the mark is a new revision too, so that a view only needs the rule "accept only a greater revision".
local lost = forgot or parts_lost or (behind and store.recovering == 0)
local recovered = false
if lost then
  store.recovering = store.clock + lease
elseif store.recovering > 0 and resending == '1' then
  store.recovering = math.max(store.recovering, store.clock + lease)
elseif store.recovering > 0 and store.clock > store.recovering and wide.dead == 0 then
  store.recovering, recovered = 0, true
end
local site_changed = lost or recovered or store.total ~= shown
-- Version 0.2.0 ends a mark without a word to those who have rooms.
local ended_before = wide.marked == 1 and store.recovering == 0 and not recovered
if site_changed or ended_before or #changed > 0 then
  store.revision = math.max(store.revision, seen_revision) + 1
  stamp = make_stamp()
end
if site_changed then
  wide.counted = store.revision
end
if has_rooms and (recovered or ended_before) then
  end_recovery()
end
wide.marked = store.recovering > 0 and 1 or 0

instances = instances or call('HLEN', connections)

-- The public key shows the total, whatever its value was. It expires soon after the last instance has ended.
local stands, total = look('GET', public), text(store.total)
local stood = shown and (shown == store.total and total or text(shown))
if shown and stands and stands ~= stood then
  repaired = repaired + 1
end
if stands ~= total and shown and stands == stood then
  call('INCRBY', public, text(store.total - shown))
elseif stands ~= total then
  call('SET', public, total, 'PX', 2 * lease)
end
