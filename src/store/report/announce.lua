-- Step 12: tell others, and save.

-- Runs a command on the names of instances. If it is denied, counting goes on. A key of another type is deleted.
local function tell(command, ...)
  local told = redis.pcall(command, abouts, ...)
  if is_wrong_type(told) then
    repaired = repaired + (redis.pcall('DEL', abouts) == 1 and 1 or 0)
    told = redis.pcall(command, abouts, ...)
  end
  return not is_error(told) and told or 0
end

-- Stores the names of instances, and removes those of instances that are gone. If there are more names than
-- instances, an instance of another version has counted one out and left its name: then all such names are removed.
local function introduce()
  local is_new = false
  if #gone > 0 then
    tell('HDEL', unpack(gone))
  end
  if introduction ~= '' and kind ~= 'farewell' and outcome == 'OK' then
    is_new = tell('HSET', incarnation, introduction) == 1
    tell('PEXPIRE', KEPT)
  end
  if (audit_due or is_new) and tell('HLEN') > instances then
    for _, owner in ipairs(redis.pcall('HKEYS', abouts)) do
      if call('HEXISTS', connections, owner) == 0 then
        tell('HDEL', owner)
      end
    end
  end
end

-- Announces the site's count. It is published inside the script, so that the order on the channel is the order of
-- revisions. A change that comes too early is announced with the next report of any instance. The message names its
-- key and database, since others use the channel too. Returns the error if PUBLISH is denied.
local function announce()
  local too_early = store.clock - store.announced_at < instances * ANNOUNCEMENT_GAP
  if store.announced >= wide.counted or too_early then
    return
  end
  local mark = store.recovering > 0 and ',"recovering":true' or ''
  local stamped = stamp ~= '' and ',"stamp":"' .. stamp .. '"' or ''
  local published = redis.pcall('PUBLISH', channel,
    '{"count":' .. text(store.total) .. ',"revision":' .. text(store.revision) .. stamped .. mark
    .. ',"key":' .. cjson.encode(public) .. ',"database":' .. text(database) .. '}')
  if is_error(published) then
    return { err = published.err .. ' (PUBLISH)' }
  end
  store.announced, store.announced_at = store.revision, store.clock
end

-- `wide` is stored from the first room on.
local function packed_wide()
  local numbers = {}
  for index, field in ipairs(WIDE_FIELDS) do
    numbers[index] = text(wide[field])
  end
  return table.concat(numbers, ' ')
end

-- Stores the fields that have changed.
local function save()
  local fields = {}
  local function put(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  for _, field in ipairs(META_FIELDS) do
    if damaged or store[field] ~= before[field] then
      put(field, text(math.max(0, store[field])))
    end
  end
  if stamp ~= '' and store.revision ~= before.revision then
    put('stamp', text(store.revision) .. ' ' .. stamp)
  end
  local wide_now = (values[11] or has_rooms) and packed_wide()
  if wide_now and wide_now ~= values[11] then
    put('wide', wide_now)
  end
  put('census', text(store.heard) .. ' ' .. text(instances) .. ' ' .. text(expiry))
  call('HSET', meta, unpack(fields))
end

local function renew_ttls()
  local kept = has_rooms and KEPT_WITH_ROOMS or KEPT
  call('PEXPIRE', public, 2 * lease)
  for _, key in ipairs({ connections, sequences, leases, meta }) do
    call('PEXPIRE', key, kept)
  end
  if has_rooms then
    for _, name in ipairs({ 'rooms', 'holders', 'dead', 'unannounced' }) do
      call('PEXPIRE', prefix .. name, kept)
    end
  end
end
