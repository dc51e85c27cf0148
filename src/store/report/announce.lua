-- Step 13: announce the site's count. It is published inside the script, so that the order on the channel is the order of
-- revisions. A change that comes too early is announced with the next report of any instance. The message names its key
-- and database, since others use the channel too. If PUBLISH is denied, the report ends with its error once all is stored.

local unpublished
local too_early = store.clock - store.announced_at < instances * ANNOUNCEMENT_GAP
if store.announced < wide.counted and not too_early then
  local mark = store.recovering > 0 and ',"recovering":true' or ''
  local stamped = stamp ~= '' and ',"stamp":"' .. stamp .. '"' or ''
  local published = redis.pcall('PUBLISH', channel,
    '{"count":' .. total .. ',"revision":' .. text(store.revision) .. stamped .. mark
    .. ',"key":' .. cjson.encode(public) .. ',"database":' .. text(database) .. '}')
  if is_error(published) then
    unpublished = { err = published.err .. ' (PUBLISH)' }
  else
    store.announced, store.announced_at = store.revision, store.clock
  end
end
