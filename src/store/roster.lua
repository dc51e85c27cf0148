-- The live instances, read in one step that changes nothing.
--
-- KEYS 1 currentUsers  2 {currentUsers}:connections  3 {currentUsers}:leases  4 {currentUsers}:meta
-- Reply { public count | nil, { incarnation, count, .. }, { incarnation, expiry, .. },
--         { total | nil, revision | nil, recovering | nil, clock | nil }, { incarnation, who it is, as JSON, .. },
--         users of the site with an identity }

local public, connections, leases, meta = unpack(KEYS)
-- No keys of the call, since a user who may not read them may read the others.
local abouts = redis.pcall('HGETALL', '{' .. public .. '}:about')
local people = redis.pcall('HLEN', '{' .. public .. '}:people:/')
return {
  redis.call('GET', public),
  redis.call('HGETALL', connections),
  redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES'),
  redis.call('HMGET', meta, 'total', 'revision', 'recovering', 'clock'),
  abouts.err and {} or abouts,
  type(people) == 'number' and people or 0,
}
