-- The live instances, read in one step that changes nothing.
--
-- KEYS 1 currentUsers  2 {currentUsers}:connections  3 {currentUsers}:leases  4 {currentUsers}:meta
-- Reply { public count | nil, { incarnation, count, .. }, { incarnation, expiry, .. },
--         { total | nil, revision | nil, recovering | nil, clock | nil } }

local public, connections, leases, meta = unpack(KEYS)
return {
  redis.call('GET', public),
  redis.call('HGETALL', connections),
  redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES'),
  redis.call('HMGET', meta, 'total', 'revision', 'recovering', 'clock'),
}
