-- Step 11: announce rooms, in pages of a limited size. A page has the counts as of its revision, and names the page before
-- it, so that everybody notices a lost page. Which rooms come first is random, so every room gets its turn.

local PAGE_GAP = 0.5 -- ms for each instance, since Redis sends every page to each of them
local PAGE_ROOMS = 100 -- with the longest names that makes 32 kB

-- The sequences of UTF-8 with more than one byte: how they begin, and the further bytes. Few pages need them, so they are made then.
local sequences_of_utf8
local function utf8_sequences()
  if not sequences_of_utf8 then
    local further = '[\128-\191]'
    sequences_of_utf8 = { '\240[\144-\191]' .. further .. further, '[\241-\243]' .. further .. further .. further,
      '\244[\128-\143]' .. further .. further, '\224[\160-\191]' .. further,
      '[\225-\236\238\239]' .. further .. further, '\237[\128-\159]' .. further, '[\194-\223]' .. further }
  end
  return sequences_of_utf8
end

-- Whether a name can be a string of JSON once its quotes and backslashes are escaped. Instances report only names that can; others
-- were written by hand.
local function is_publishable(name)
  if #name > ROOM_BYTES_MAX or string.find(name, '%c') then
    return false
  end
  if not string.find(name, '[\128-\255]') then
    return true
  end
  for _, sequence in ipairs(utf8_sequences()) do
    name = string.gsub(name, sequence, '.')
  end
  return not string.find(name, '[\128-\255]')
end

local function quoted(name)
  return '"' .. string.gsub(name, '["\\]', '\\%0') .. '"'
end

-- The count of a room for a page. If counts were lost, one that is absent is counted again, as far as that is allowed.
local function count_to_tell(room, stored)
  if stored or not are_counts_missing() then
    return tonumber(stored or '0')
  end
  return lookups > 0 and recount(room) or nil
end

-- The counts of rooms as JSON. A value that is no count is left out: an audit will change and announce it. So is a name that
-- nobody could read: it would spoil the page for the other rooms.
local function counts_text(page)
  local list = {}
  for index, stored in ipairs(#page > 0 and call('HMGET', rooms, unpack(page)) or {}) do
    local count = count_to_tell(page[index], stored)
    if is_whole(count, WHOLE_MAX) and is_publishable(page[index]) then
      list[#list + 1] = quoted(page[index]) .. ':' .. text(count)
    end
  end
  return table.concat(list, ',')
end

local function note_changes()
  if #changed > 0 then
    local added = call('SADD', unannounced, unpack(changed))
    if wide.backlog == 0 then
      call('PEXPIRE', unannounced, KEPT_WITH_ROOMS)
    end
    wide.backlog = wide.backlog + added
  end
end

-- Takes out the rooms of the next page. If there are fewer than there should be, somebody has deleted the set, or it was
-- evicted, and nobody knows which rooms have changed. That counts as a page that nobody got, so everybody asks again.
local function take_page()
  local page, expected = call('SPOP', unannounced, PAGE_ROOMS), wide.backlog
  wide.backlog = #page == expected and 0 or call('SCARD', unannounced)
  if #page + wide.backlog < expected then
    store.revision = store.revision + 1
    wide.paged, repaired = store.revision, repaired + 1
  end
  return page
end

-- While the store recovers, no rooms are announced. Its end counts as a page that was missed: see `announce.lua`. If
-- PUBLISH is denied, the page is as good as lost: reporters notice, and ask for their rooms.
function announce_page()
  if store.recovering > 0 then
    return
  end
  note_changes()
  if wide.backlog == 0 or store.clock - wide.paged_at < instances * PAGE_GAP then
    return
  end
  local page = take_page()
  if wide.paged >= store.revision then -- each page has a revision of its own
    store.revision, stamp = store.revision + 1, make_stamp()
  end
  redis.pcall('PUBLISH', channel .. ':rooms', '{"revision":' .. text(store.revision)
    .. ',"since":' .. text(wide.paged) .. ',"stamp":"' .. stamp .. '","rooms":{' .. counts_text(page)
    .. '},"key":' .. cjson.encode(public) .. ',"database":' .. text(database) .. '}')
  wide.paged, wide.paged_at = store.revision, store.clock
end

-- What changed during a recovery was not announced, so everybody has to ask again. Whoever does not hear of the end
-- notices with the next page that one is missing.
function end_recovery()
  call('UNLINK', unannounced)
  wide.backlog, wide.paged, changed = 0, store.revision, {}
end
