-- The reply. It stands before the steps, since a stale report gets it before all others. `of_rooms`: what is said of the
-- rooms that the report names, if it was applied.
local function reply(last, of_rooms)
  local is_unannounced = store.announced < wide.counted or (wide.backlog > 0 and store.recovering == 0)
  local answer = { outcome, store.total, store.revision, store.announced, instances, last or 0,
    store.recovering > 0 and 1 or 0, reaped, repaired, crashed,
    stamp, is_unannounced and 1 or 0, wide.dead, wide.paged }
  if of_rooms then
    answer[15], answer[16], answer[17], answer[18] = unpack(of_rooms)
  end
  return answer
end
