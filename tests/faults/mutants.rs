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

/// The obvious design: add new users to a shared number, and subtract those that have left.
const INCREMENTS: &str = "
local last = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local count = redis.call('INCRBY', KEYS[1], tonumber(ARGV[3]) - last)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local revision = redis.call('HINCRBY', KEYS[5], 'revision', 1)
redis.call('PUBLISH', ARGV[8], '{\"count\":' .. count .. ',\"revision\":' .. revision .. '}')
return { 'OK', count, revision, revision, redis.call('HLEN', KEYS[2]), 0, 0, 0, 0, 0, '', 0, 0, 0 }
";

pub(crate) const MUTANTS: [Mutant; 7] = [
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
    program("no welcome", "nothing"),
    program("no resync", "gap"),
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
            Ok(_) => Err(format!("{} lets it pass", self.caught_by)),
            Err(caught) => {
                println!("{}: {}", self.name, caught.lines().next().unwrap_or_default());
                Ok(())
            }
        }
    }
}
