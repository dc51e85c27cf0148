-- Whether the report is applied. If the store has an older state of the reporter than was acknowledged, or none, it is not.

if has_rooms and wide_lost then
  read_wide_again()
end
if has_rooms and audit_due then
  forget_rooms()
end
if has_rooms and (audit_due or first_user[place_of[SITE]]) then
  forget_site()
end
behind = last ~= nil and last < acknowledged
if behind or (not last and acknowledged > 0) then
  outcome = 'RESEND'
end
