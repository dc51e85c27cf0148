-- Step 2, the fence. A report that is not newer than the last one applied changes nothing and renews nothing. A report
-- of an incarnation whose acknowledged reports are not here any more is not applied: its sender has to take another
-- incarnation and report everything again.
--
-- Mostly the stored sequence is the acknowledged one. So one command reads it, compares it and replaces it: it adds the
-- difference between this report's sequence and the acknowledged one. If the sum is not this report's sequence, the
-- command is undone.

local advance = text(sequence - acknowledged)
local moved = redis.pcall('HINCRBY', sequences, incarnation, advance)

-- This is the first write of the call. A server that accepts no writes answers with an error here, before any harm is
-- done. A server that is out of memory lets a script finish once it has begun to write: a write that needs no memory and
-- changes nothing comes first then.
if is_error(moved) and string.find(moved.err, 'maxmemory', 1, true) then
  local begun = redis.pcall('HDEL', meta, '')
  if is_error(begun) and not is_wrong_type(begun) then
    fail('HDEL', begun)
  end
  moved = redis.pcall('HINCRBY', sequences, incarnation, advance)
end

-- Undoes the command when the stored sequence is not the acknowledged one. Returns the sequence that was stored, if there
-- was one. A value that is no sequence is ignored.
local function undo_advance()
  local is_no_number = is_error(moved)
    and (string.find(moved.err, 'not an integer', 1, true) or string.find(moved.err, 'overflow', 1, true))
  if is_wrong_type(moved) then
    call('HGET', sequences, incarnation) -- deletes the key
    return nil
  end
  if is_error(moved) and not is_no_number then
    fail('HINCRBY', moved)
  end
  if is_no_number or moved == sequence - acknowledged then -- the latter: nothing was stored
    call('HDEL', sequences, incarnation)
    return nil
  end
  call('HINCRBY', sequences, incarnation, text(acknowledged - sequence))
  local stored = call('HGET', sequences, incarnation)
  if stored == CLOSED then
    return WHOLE_MAX + 1
  end
  return is_whole(tonumber(stored), WHOLE_MAX) and tonumber(stored) or nil
end

local fenced = moved == sequence -- this report's sequence is stored
local last = acknowledged > 0 and acknowledged or nil -- the sequence that was stored before
if not fenced then
  last = undo_advance()
end

-- The first report of an incarnation that is dead by now was under way for so long that its sequence is gone.
if not last and acknowledged == 0 and wide.dead > 0
  and redis.pcall('HEXISTS', prefix .. 'dead', incarnation) == 1 then
  call('HDEL', sequences, incarnation)
  last = WHOLE_MAX
end

if last and sequence <= last then
  outcome = 'STALE'
  if not instances then
    instances = look('HLEN', connections)
    instances = is_error(instances) and 0 or instances
  end
  return reply(math.min(last, WHOLE_MAX))
end
