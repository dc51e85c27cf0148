//! How flags and environment are read: an empty variable is an unset one, in every subcommand.

use std::env;

use clap::{CommandFactory, FromArgMatches, builder::Resettable};

use super::Cli;

impl Cli {
    /// Reads flags and environment, and ends the process with an answer if they cannot be read.
    pub fn read() -> Self {
        let matches = without_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Ignores variables that are set to nothing, in all subcommands: shells, Compose and `.env` files have no better
/// way to unset one.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}
