-- Step 14: store the state, renew lifetimes, and reply. Mostly only the times have changed; other fields are written only
-- if they may have changed, too.

local heard = text(store.heard)
local fields = { 'heard', heard, 'clock', text(store.clock),
  'census', heard .. ' ' .. instances .. ' ' .. text(expiry) }

local is_revised = damaged or store.revision ~= tonumber(values[2])
if is_revised or audit_due or resending == '1' or store.announced ~= tonumber(values[3]) then
  for _, field in ipairs({ 'total', 'revision', 'announced', 'announced_at', 'audited', 'recovering' }) do
    fields[#fields + 1] = field
    fields[#fields + 1] = text(math.max(0, store[field]))
  end
end
if is_revised and stamp ~= '' then
  fields[#fields + 1] = 'stamp'
  fields[#fields + 1] = text(store.revision) .. ' ' .. stamp
end
if values[11] or has_rooms then -- `wide` is stored from the first room on
  local numbers = {}
  for index, field in ipairs(WIDE_FIELDS) do
    numbers[index] = text(hidden and hidden[field] or wide[field])
  end
  local packed = table.concat(numbers, ' ')
  if packed ~= values[11] then
    fields[#fields + 1] = 'wide'
    fields[#fields + 1] = packed
  end
end
call('HSET', meta, unpack(fields))

if audit_due or renew_due then
  local kept = has_rooms and KEPT_WITH_ROOMS or KEPT
  call('PEXPIRE', public, 2 * lease)
  for _, key in ipairs({ connections, sequences, leases, meta }) do
    call('PEXPIRE', key, kept)
  end
  if has_rooms then
    for name, fields in pairs({ rooms = wide.rooms, holders = 1, dead = wide.dead, unannounced = wide.backlog }) do
      if fields > 0 then -- it exists
        call('PEXPIRE', prefix .. name, kept)
      end
    end
  end
end

if unpublished then
  return unpublished
end
local is_said = #names > 0 and outcome == 'OK' and kind ~= 'farewell'
return reply(last, is_said and said_of_rooms() or nil)
