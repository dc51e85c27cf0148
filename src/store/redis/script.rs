//! The scripts that run in Redis, as they are sent.

/// Reads who is in a room, for a list.
pub const PEOPLE_SCRIPT: &str = include_str!("../people.lua");

/// What a report does, in one atomic call. The files are its steps, in their order; what only stores with rooms need is skipped
/// without rooms, since in Lua even making a function takes time.
pub const REPORT_SCRIPT: &str = concat!(
    include_str!("../report/arguments.lua"),
    "\nif #ARGV > HEADER then\n",
    include_str!("../report/groups.lua"),
    "\nend\n",
    include_str!("../report/state.lua"),
    include_str!("../report/reply.lua"),
    include_str!("../report/fence.lua"),
    include_str!("../report/clock.lua"),
    "\nif has_rooms then\n",
    include_str!("../report/rooms.lua"),
    include_str!("../report/users.lua"),
    include_str!("../report/dead.lua"),
    include_str!("../report/audit_rooms.lua"),
    include_str!("../report/pages.lua"),
    "\nend\n",
    include_str!("../report/outcome.lua"),
    "\nif outcome == 'OK' then\n",
    include_str!("../report/site.lua"),
    "\nif has_rooms then\n",
    include_str!("../report/apply_rooms.lua"),
    "\nend\nif audit_due or not is_whole(store.total, WHOLE_MAX) then\n",
    include_str!("../report/audit.lua"),
    "\nend\nend\n",
    include_str!("../report/revision.lua"),
    "\nif #gone > 0 or introduction ~= '' or audit_due then\n",
    include_str!("../report/introduce.lua"),
    "\nend\nif has_rooms then\n",
    "announce_page()",
    "\nend\n",
    include_str!("../report/announce.lua"),
    include_str!("../report/save.lua"),
);

/// Reads the live instances, for operators.
pub(super) const ROSTER_SCRIPT: &str = include_str!("../roster.lua");
