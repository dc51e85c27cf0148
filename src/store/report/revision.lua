-- Step 10: the revision, the mark, and the public key.

-- Whether the store has lost something that this reporter knew: it has seen a higher revision than the store has, or
-- the same one, but of another report. Version 0.2.0 knows no stamps; then the site's count is compared, and a missing
-- stamp is no sign of a loss.
local function has_forgotten()
  if seen_revision ~= store.revision or seen_revision == 0 then
    return seen_revision > store.revision
  end
  if seen_stamp == '' or damaged then
    return seen_count ~= shown
  end
  return stamp ~= '' and seen_stamp ~= stamp
end

-- Revisions grow even if Redis loses data. A reporter that has seen a higher one than the store has found it rolled back
-- or empty. Until every instance has had the time to report, counts are marked as recovering, and instances show their
-- estimates. The mark lasts longer than every lease that came back with old data, than every reporter that is still
-- telling its rooms, and than the rooms of the dead; otherwise users of dead instances would be counted for a moment. The
-- end of the mark is a new revision too, so that a view only needs the rule "accept only a greater revision".
local function revise()
  local lost = has_forgotten() or parts_lost or (behind and store.recovering == 0)
  local goes_on = resending == '1' or wide.dead > 0
  local recovered = store.recovering > 0 and store.clock > store.recovering and not goes_on
  if lost then
    store.recovering = store.clock + lease
  elseif resending == '1' and store.recovering > 0 then
    store.recovering = math.max(store.recovering, store.clock + lease)
  elseif recovered then
    store.recovering = 0
  end
  local site_changed = lost or recovered or store.total ~= shown
  -- Version 0.2.0 ends a mark without a word to those who have rooms.
  local ends_late = wide.marked == 1 and store.recovering == 0 and not recovered
  if site_changed or ends_late or #changed > 0 then
    store.revision = math.max(store.revision, seen_revision) + 1
    stamp = make_stamp()
  end
  if site_changed then
    wide.counted = store.revision
  end
  if end_recovery and (recovered or ends_late) then
    end_recovery()
  end
  wide.marked = store.recovering > 0 and 1 or 0
end

-- Sets the public key to the total, whatever its value was. It expires soon after the last instance has ended.
local function show()
  local stands = look('GET', public)
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
