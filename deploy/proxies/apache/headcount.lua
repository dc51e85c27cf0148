-- For headcount.conf: what is asked for once more is answered with its own status, and not with that of the refusal.

function again(request)
  if request.status == 503 then
    request.status = 200
  end
  return apache2.DECLINED
end
