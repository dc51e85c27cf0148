//! The report script by itself, on a real server and under virtual time. Every rule has a case that fails
//! without it, and a table of scripts with one changed rule proves that.

mod cases;
mod instance;
mod machine;
mod mutants;
mod stage;
mod versions;

use headcount::store::redis::REPORT_SCRIPT as SOURCE;
use headcount_testkit::redis_server::RedisServer;
use stage::{Case, Stage};

/// The expression that reads the time in the script, and its replacement under virtual time, which is one more argument, the
/// last one, in microseconds.
const REAL_TIME: &str = "redis.call('TIME')";
const VIRTUAL_TIME: &str = "{ math.floor(NOW / 1000000), NOW % 1000000 }";

/// The script under virtual time.
fn virtual_time(source: &str) -> String {
    format!("local NOW = table.remove(ARGV)\n{}", replace_once(source, REAL_TIME, VIRTUAL_TIME))
}

/// Replaces a text that must occur exactly once.
fn replace_once(source: &str, from: &str, to: &str) -> String {
    assert_eq!(source.matches(from).count(), 1, "not exactly once in the script: {from}");
    source.replace(from, to)
}

fn named(name: &str) -> &'static Case {
    let case = cases::CASES.iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("no case is named {name}"))
}

/// Goal: the script follows all its rules. Method: play every case, then list all that failed.
#[test]
fn the_script_keeps_every_rule() {
    let server = RedisServer::start(&[]);
    let mut stage = Stage::new(&server, &virtual_time(SOURCE));
    let failed: Vec<_> = cases::CASES
        .iter()
        .filter_map(|case| stage.play(case).err().map(|why| format!("{}: {why}", case.name)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Goal: the cases notice every broken rule. Method: break one rule at a time, and play its case.
#[test]
fn every_rule_has_a_case_that_misses_it() {
    let server = RedisServer::start(&[]);
    let source = virtual_time(SOURCE);
    let mut missed = Vec::new();
    for mutant in mutants::MUTANTS.iter().chain(mutants::OF_ROOMS) {
        let changed = replace_once(&source, mutant.from, mutant.to);
        let outcome = Stage::new(&server, &changed).play(named(mutant.caught_by));
        if outcome.is_ok() {
            missed.push(format!("{} is not caught by {}", mutant.name, mutant.caught_by));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
