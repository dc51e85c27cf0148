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

-- The end of a recovery is told to those who hear of rooms, too: by a page without rooms that says that one is missing, so that
-- they read all counts again. It is published without rooms as well: perhaps there were some before the data was lost.
if recovered or ended_before then
  local page = '{"revision":' .. text(store.revision) .. ',"since":' .. text(store.revision) .. ',"stamp":"' .. stamp
    .. '","rooms":{},"key":' .. cjson.encode(public) .. ',"database":' .. text(database) .. '}'
  redis.pcall('PUBLISH', channel .. ':rooms', page)
end
