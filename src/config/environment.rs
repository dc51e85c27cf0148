//! How flags and environment are read: an empty variable is an unset one, in every subcommand.

use std::env;

use clap::{CommandFactory, FromArgMatches, builder::Resettable};

use super::Cli;

impl Cli {
    /// Reads flags and environment.
    ///
    /// # Errors
    /// What is to be printed instead of doing anything: what is wrong with them, or the help that was asked for.
    pub fn try_read() -> Result<Self, clap::Error> {
        let matches = without_empty_variables(Self::command()).try_get_matches()?;
        Self::from_arg_matches(&matches)
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
