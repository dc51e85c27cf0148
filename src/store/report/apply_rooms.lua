-- Steps 5 to 8, only if there are rooms. Incarnations that were counted out leave their rooms in portions.

for _, owner in ipairs(gone) do
  mark_dead(owner)
end
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
