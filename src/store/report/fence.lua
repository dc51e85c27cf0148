-- Step 2, the fence. A report that is not newer than the last one applied changes nothing and renews nothing. A report
-- of an incarnation whose acknowledged reports are not here any more is not applied: its sender has to take another
-- incarnation and report everything again.
--
-- Mostly the stored sequence is the acknowledged one. So one command reads it, compares it and replaces it: it adds the
-- difference between this report's sequence and the acknowledged one. If the sum is not this report's sequence, the
-- command is undone.

-- Runs the first write of the call. A server that accepts no writes answers with an error here, before any harm is
-- done. A server that is out of memory lets a script finish once it has begun to write: a write that needs no memory
-- and changes nothing comes first then.
local function write_first(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if is_error(reply) and string.find(reply.err, 'maxmemory', 1, true) then
    local begun = redis.pcall('HDEL', meta, '')
    if is_error(begun) and not is_wrong_type(begun) then
      fail('HDEL', begun)
    end
    return redis.pcall(command, key, ...)
  end
  return reply
end

-- Whether the error says that the stored value is no number to which something can be added.
local function is_no_number(reply)
  return string.find(reply.err, 'not an integer', 1, true) or string.find(reply.err, 'overflow', 1, true)
end

-- Reads the stored sequence exactly, when it is not the acknowledged one. A value that is no sequence is ignored.
local function stored_sequence()
  local stored = call('HGET', sequences, incarnation)
  if stored == CLOSED then
    return WHOLE_MAX + 1
  end
  local number = tonumber(stored or '')
  return is_whole(number, WHOLE_MAX) and number or nil
end

-- Returns the sequence that was stored before, if there was one, and whether this report's sequence is stored now.
local function advance_sequence()
  local by = sequence - acknowledged
  local moved = write_first('HINCRBY', sequences, incarnation, text(by))
  if is_wrong_type(moved) then
    moved = call('HINCRBY', sequences, incarnation, text(by))
  end
  if is_error(moved) then
    if not is_no_number(moved) then
      fail('HINCRBY', moved)
    end
    call('HDEL', sequences, incarnation)
    return nil, false
  end
  if moved == sequence then
    return acknowledged > 0 and acknowledged or nil, true
  end
  if moved == by then -- nothing was stored
    call('HDEL', sequences, incarnation)
    return nil, false
  end
  call('HINCRBY', sequences, incarnation, text(-by))
  return stored_sequence(), false
end

-- Whether this is the first report of an incarnation that is dead by now. It was under way for so long that its
-- sequence is gone.
local function is_first_of_dead(last)
  return not last and acknowledged == 0 and wide.dead > 0 and call('HEXISTS', prefix .. 'dead', incarnation) == 1
end

local last, fenced = advance_sequence()
if is_first_of_dead(last) then
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
