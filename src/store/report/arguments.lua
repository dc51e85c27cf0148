-- An instance reports its local count, and what has changed in its rooms since the last report that it knows to be
-- acknowledged, in one atomic step. A report that is lost, repeated or late does no harm. `script.rs` puts the script
-- together from the files of this folder, in the order of their steps.
--
-- KEYS 1 currentUsers                string  the site's count, a plain integer; absent means 0
--      2 {currentUsers}:connections  hash    incarnation -> its absolute local count of the site
--      3 {currentUsers}:sequence     hash    incarnation -> the last sequence applied; CLOSED if it is buried
--      4 {currentUsers}:leases       zset    incarnation -> expiry, in ms of the lease clock
--      5 {currentUsers}:meta         hash    the fields that `state.lua` reads
-- No keys of the call, since they may be forbidden or are many; all are in the slot of the others:
--        {currentUsers}:about         hash   incarnation -> its name, as JSON
--        {currentUsers}:rooms         hash   room -> count, never 0; the site is not in it
--        {currentUsers}:at:<inc>      hash   room -> the connections without identity there, never 0
--        {currentUsers}:of:<inc>      set    room \n user: the users whom this incarnation has in rooms
--        {currentUsers}:people:<room> hash   user -> the tags of the incarnations that have him, then perhaps {JSON}
--        {currentUsers}:holders       set    the incarnations that may have `at` or `of`
--        {currentUsers}:dead          hash   incarnation whose rooms are being taken away -> HSCAN cursor
--        {currentUsers}:unannounced   set    rooms that have changed since they were last announced
-- ARGV 1 incarnation   2 sequence   3 local count of the site   4 lease, in ms
--      5 highest revision seen   6 the site's count seen with it
--      7 report | farewell | audit   8 channel   9 number of the database, for announcements
--      10 the reporter's name and version, as JSON; empty if the store was told before
--      11 the stamp seen with the revision; empty if not known
--      12 the greatest sequence of this incarnation that was acknowledged; 0 if none
--      13 the former incarnation of the reporter, which is buried; or empty
--      14 1 while the reporter needs further reports to tell all its rooms again, else 0
--      15... groups, one for each room that is named, each room once:
--         room, connections without identity (empty: nothing is said of them), number of users,
--         then for each user: his id, and `-` gone | `+` here, nothing is known of him here | `+{JSON}` here, with
--         information | `~{JSON}` still here, with information that is stored only if there is none
--         A group without connections and users only asks for the room's count.
-- Reply { OK | STALE | RESEND, count, revision, announced revision, instances, sequence stored before,
--         recovering 0 | 1, leases reaped, values repaired, how many of those reaped were still counted,
--         stamp of the revision, 1 if something is not announced yet, incarnations in `dead`,
--         revision of the last page of rooms,
--         and, if rooms were named and the report was applied: rooms in `at`, pairs in `of`,
--         { count of each room named }, { for each user named: 1 if another incarnation has him there, too } }
--
-- An error other than WRONGTYPE (a missing permission, or a slot of a cluster that is being moved) ends the report.
-- It says nothing about the value of a key, so no key is deleted for it. If possible it comes before the first write.
-- If a report ends after some of its writes, the next audit repairs them.
--
-- Invariants after every call that is not STALE: the public key is the sum of the connections hash and of the users
-- in {currentUsers}:people:/. The count of a room is the sum of its fields in all `at` and of its users. No sum is
-- negative. A change of any count has a revision that is higher than the one that this reporter had seen.
--
-- Version 0.2.0 of this script may run beside it on the same keys: see docs/redis.md.

local public, connections, sequences, leases, meta = unpack(KEYS)
local prefix = '{' .. public .. '}:' -- puts all keys in one slot
local incarnation, kind, channel, database = ARGV[1], ARGV[7], ARGV[8], tonumber(ARGV[9])
local sequence, users, lease = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local seen_revision, seen_count, seen_stamp = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[11]
local introduction = ARGV[10]
local acknowledged, former, resending = tonumber(ARGV[12]), ARGV[13], ARGV[14]
local abouts = prefix .. 'about'
local HEADER = 14 -- arguments before the groups

local KINDS = { report = true, farewell = true, audit = true }
local SITE = '/'

local WHOLE_MAX = 2 ^ 53 - 2 -- exact in a Lua number, and the next integer is too
local CLOSED = '9007199254740991' -- 2^53 - 1, greater than every sequence that is sent
local REVISION_MAX = 2 ^ 52 -- leaves room for more revisions; no store gets there by counting
local LOCAL_MAX = 1e9
local LEASE_MIN, LEASE_MAX = 100, 300000
local NAME_BYTES_MAX = 128
local ROOM_BYTES_MAX = 128
local ABOUT_BYTES_MAX = 512
local TAG_BYTES = 12 -- the end of an incarnation, which names it beside a user; its random part
local REAPED_MAX = 128 -- bounds how long one call blocks Redis
local KEPT = 600000 -- ms; a long pause of Redis must not delete the parts
local KEPT_WITH_ROOMS = 172800000 -- ms; not every call renews what is known of every room
local ANNOUNCEMENT_GAP = 0.25 -- ms for each instance, since Redis sends every message to each of them

local function is_whole(number, max)
  return number ~= nil and number >= 0 and number <= max and number == math.floor(number)
end

-- Lua's own conversion writes 1e14 and above in exponent form.
local function text(number)
  return string.format('%.0f', number)
end

local valid = incarnation and #incarnation > 0 and #incarnation <= NAME_BYTES_MAX
  and channel and KINDS[kind]
  and is_whole(sequence, WHOLE_MAX) and is_whole(users, LOCAL_MAX)
  and is_whole(lease, LEASE_MAX) and lease >= LEASE_MIN
  and is_whole(seen_revision, WHOLE_MAX) and is_whole(seen_count, WHOLE_MAX)
  and is_whole(database, WHOLE_MAX) and introduction and #introduction <= ABOUT_BYTES_MAX
  and seen_stamp and is_whole(acknowledged, WHOLE_MAX) and acknowledged < sequence
  and former and #former <= NAME_BYTES_MAX and former ~= incarnation
  and (resending == '0' or resending == '1')

-- The groups, as lists side by side: a table for each would cost more than everything else that is done with it.
local names, said = {}, {} -- the room, and the connections in it; false if nothing is said of them
local first_user, last_user = {}, {} -- where its users are in ARGV; nil if it has none
local place_of = {} -- room -> its place in these lists
local entries = 0 -- rooms and users
