//! An empty environment variable is an unset one, in every subcommand.

use std::process::{Command, Output};

use clap::{Arg, CommandFactory};
use headcount::config::command_line::Cli;

/// A value that every setting refuses.
const NONSENSE: &str = "{\u{1}";

/// The visible result of a run.
#[derive(Debug, PartialEq)]
struct Outcome {
    code: Option<i32>,
    stderr: String,
}

/// Goal: every subcommand treats an empty variable as unset. Method: every variable of the command line, one after
/// the other. An empty one must give the result of an unset one. Nonsense must not, which shows that the variable
/// is read.
#[test]
fn an_empty_variable_is_an_unset_one() {
    let mut tried = 0;
    for subcommand in Cli::command().get_subcommands() {
        let name = subcommand.get_name();
        for variable in subcommand.get_arguments().filter_map(Arg::get_env) {
            let variable = variable.to_str().expect("it is ASCII");
            let unset = outcome(name, variable, None);
            assert_eq!(outcome(name, variable, Some("")), unset, "{name} with an empty {variable}");
            assert_ne!(outcome(name, variable, Some(NONSENSE)), unset, "{name} ignores {variable}");
            tried += 1;
        }
    }
    assert!(tried > 20, "the command line has variables: {tried}");
}

/// Runs a subcommand with flags that make it end after it has read the variable.
fn outcome(subcommand: &str, variable: &str, value: Option<&str>) -> Outcome {
    let flags: &[&str] = match (subcommand, variable) {
        // An address that this machine does not have.
        ("serve", "HEADCOUNT_TEST_INCARNATION") => &["--listen=192.0.2.1:1"],
        // This flag is checked last.
        ("serve", _) => &["--test-incarnation=none"],
        ("status", "HEADCOUNT_REDIS_URL") | ("health", _) => &[],
        // Nothing listens there.
        ("status", _) => &["--redis-url=redis://127.0.0.1:1"],
        _ => panic!("{subcommand} reads {variable}: say here how to make it end"),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_headcount"));
    command.arg(subcommand).args(flags).env_clear();
    if let Some(value) = value {
        command.env(variable, value);
    }
    let Output { status, stderr, .. } = command.output().expect("the program runs");
    Outcome { code: status.code(), stderr: String::from_utf8_lossy(&stderr).into_owned() }
}
