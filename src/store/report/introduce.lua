-- Step 11, if it is due: store the name of the instance, and remove those of instances that are gone. If there are more
-- names than instances, an instance of another version has counted one out and left its name: then all such names are
-- removed.

-- Runs a command on the names of instances. If it is denied, counting goes on. A key of another type is deleted.
local function tell(command, ...)
  local told = redis.pcall(command, abouts, ...)
  if is_wrong_type(told) then
    repaired = repaired + (redis.pcall('DEL', abouts) == 1 and 1 or 0)
    told = redis.pcall(command, abouts, ...)
  end
  return not is_error(told) and told or 0
end

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
