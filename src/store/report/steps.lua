-- The steps after the fence, in their order.

-- Applies the report and repairs what is due. Returns what is to be said of the rooms that the report names.
local function carry_out()
  apply()
  reap()
  if has_rooms then
    if audit_due then
      audit_rooms()
    end
    if wide.dead > 0 then
      take_away()
    end
    if #names > 0 and kind ~= 'farewell' then
      apply_rooms()
    end
    settle()
  end
  if audit_due or not is_whole(store.total, WHOLE_MAX) then
    audit()
  end
end

if has_rooms and wide_lost then
  read_wide_again()
end
if has_rooms and audit_due and forget_rooms() then
  last, fenced = nil, false
end
behind = last ~= nil and last < acknowledged
if behind or (not last and acknowledged > 0) then
  outcome = 'RESEND'
else
  carry_out()
end
revise()
show()
instances = instances or call('HLEN', connections)
introduce()
if announce_page then
  announce_page()
end
local unpublished = announce()
save()
if audit_due or renew_due then
  renew_ttls()
end
if unpublished then
  return unpublished
end
return reply(last, #names > 0 and outcome == 'OK' and kind ~= 'farewell' and said_of_rooms() or nil)
