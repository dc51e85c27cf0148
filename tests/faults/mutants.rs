//! Programs without one of the ideas of the design, and the row that must catch each. A checker that
//! accepts them checks nothing.

use crate::{
    patched::Patch,
    row::{self, Row},
    rows,
    stage::Setup,
};

/// A broken program.
#[derive(Debug)]
pub(crate) struct Mutant {
    /// The idea that is missing.
    pub(crate) name: &'static str,
    patch: Patch,
    caught_by: &'static str,
}

/// The obvious design: add new users to a shared number, and subtract those that have left. The same for each room, and for the
/// instances of each person.
const INCREMENTS: &str = "
local rooms, at, of = '{currentUsers}:rooms', '{currentUsers}:at:' .. ARGV[1], '{currentUsers}:of:' .. ARGV[1]
local paged = tonumber(redis.call('HGET', KEYS[5], 'paged') or '0')
local place, counts, told, elsewhere = 15, {}, {}, {}
local function set(key, room, users)
  if users > 0 then redis.call('HSET', key, room, users) else redis.call('HDEL', key, room) end
end
local function enter(room, first, last)
  local people, by = '{currentUsers}:people:' .. room, 0
  for index = first, last, 2 do
    local user, is_here = ARGV[index], ARGV[index + 1] ~= '-'
    if redis.call(is_here and 'SADD' or 'SREM', of, room .. '\\n' .. user) == 1 then
      local instances = redis.call('HINCRBY', people, user, is_here and 1 or -1)
      if is_here and instances == 1 then by = by + 1 end
      if not is_here and instances == 0 then redis.call('HDEL', people, user) by = by - 1 end
    end
    local instances = tonumber(redis.call('HGET', people, user) or '0')
    table.insert(elsewhere, instances > (is_here and 1 or 0) and 1 or 0)
  end
  return by
end
local by = tonumber(ARGV[3]) - tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
while ARGV[place] do
  local room, here, held = ARGV[place], tonumber(ARGV[place + 1]), tonumber(ARGV[place + 2])
  local entered = enter(room, place + 3, place + 2 + 2 * held)
  if room == '/' then
    by = by + entered
    table.insert(counts, room)
  else
    local users = tonumber(redis.call('HGET', rooms, room) or '0') + entered
    if here then
      users = users + here - tonumber(redis.call('HGET', at, room) or '0')
      set(at, room, here)
    end
    if here or held > 0 then
      set(rooms, room, users)
      table.insert(told, cjson.encode(room) .. ':' .. users)
    end
    table.insert(counts, users)
  end
  place = place + 3 + 2 * held
end
local count = redis.call('INCRBY', KEYS[1], by)
for index, users in ipairs(counts) do
  if users == '/' then counts[index] = count end
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local revision = redis.call('HINCRBY', KEYS[5], 'revision', 1)
redis.call('PUBLISH', ARGV[8], '{\"count\":' .. count .. ',\"revision\":' .. revision .. '}')
if #told > 0 then
  redis.call('PUBLISH', ARGV[8] .. ':rooms', '{\"revision\":' .. revision .. ',\"since\":' .. paged
    .. ',\"stamp\":\"\",\"rooms\":{' .. table.concat(told, ',') .. '},\"key\":\"currentUsers\",\"database\":0}')
  redis.call('HSET', KEYS[5], 'paged', revision)
  paged = revision
end
local reply = { 'OK', count, revision, revision, redis.call('HLEN', KEYS[2]), 0, 0, 0, 0, 0, '', 0, 0, paged }
if #counts > 0 then
  reply[15], reply[16], reply[17], reply[18] = redis.call('HLEN', at), redis.call('SCARD', of), counts, elsewhere
end
return reply
";

const NO_WELCOME: &str = "no welcome";

pub(crate) const MUTANTS: [Mutant; 15] = [
    script("no fence", "if last and sequence <= last then", "if false then", "repeats"),
    script("no lease clock", "gap = math.floor(lease / 8)", "gap = gap + 0", "all-cut-off"),
    script("no recovery", "  store.recovering = store.clock + lease\n", "", "flushall-quiet"),
    script(
        "no audit",
        "if audit_due or not is_whole(store.total, WHOLE_MAX) then",
        "if false then",
        "stranger",
    ),
    Mutant { name: "plain increments", patch: Patch::Script(INCREMENTS), caught_by: "kill-9" },
    program(NO_WELCOME, "nothing"),
    program("no resync", "gap"),
    script("the dead keep rooms", "if wide.dead > 0 then\n  take_away()\nend\n", "", "kill-9"),
    script(
        "lost changes are no gap",
        "if #page + wide.backlog < expected then",
        "if false then",
        "unannounced-del",
    ),
    program("no large pages", "pages"),
    program("no gaps of pages", "page-gap"),
    program("no resend of rooms", "many-lost"),
    program("no grace", "moves"),
    script(
        "people are connections",
        "change_users(room, call('HSET', key, unpack(set)))",
        "call('HSET', key, unpack(set))\n    change_users(room, #set / 2)",
        "nothing",
    ),
    script(
        "the dead take people along",
        "without(tags, tag)\n    if left",
        "''\n    if left",
        "half-killed",
    ),
];

const fn script(
    name: &'static str,
    from: &'static str,
    to: &'static str,
    caught_by: &'static str,
) -> Mutant {
    Mutant { name, patch: Patch::ScriptPart { from, to }, caught_by }
}

const fn program(name: &'static str, caught_by: &'static str) -> Mutant {
    Mutant { name, patch: Patch::Program(name), caught_by }
}

impl Mutant {
    /// Runs the row that must catch this program. An error says that it did not.
    pub(crate) async fn is_caught(&self) -> Result<(), String> {
        let row = rows::all().into_iter().find(|row| row.name == self.caught_by);
        let row = row.expect("the row is there");
        let setup = Setup { patch: Some(self.patch), ..row.setup };
        match row::run(&Row { setup, ..row }).await {
            Ok(measured) => Err(format!("{} lets it pass: {measured:?}", self.caught_by)),
            // Without first values, the client that connects last may be told nothing at the very start.
            Err(caught) if caught.starts_with(row::NOT_STARTED) && self.name != NO_WELCOME => {
                Err(caught)
            }
            Err(caught) => {
                println!("{}: {}", self.name, caught.lines().next().unwrap_or_default());
                Ok(())
            }
        }
    }
}
