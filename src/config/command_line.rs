//! The command line: subcommands, flags and the environment.

use std::env;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, builder::Resettable};
use headcount_load::LoadArgs;

use super::{health::HealthArgs, serve::ServeArgs, status::StatusArgs};

/// Tells every visitor of a site how many people are online right now, on any number of servers.
#[derive(Debug, Parser)]
#[command(name = "headcount", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; serving is the default.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of `serve`, which may be left out.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve visitors (the default).
    Serve(Box<ServeArgs>),
    /// Show the live instances of a cluster and what they add up to. Exit code 1 if the sum is not the count,
    /// or the store is away.
    Status(StatusArgs),
    /// Ask an instance on this machine whether it is ready; exit code 1 if not. For container health checks, and
    /// for its metrics where nothing else can ask.
    Health(HealthArgs),
    /// Send many simulated visitors to a server and check that each is told the right count.
    Load(Box<LoadArgs>),
}

impl Cli {
    /// Reads flags and environment.
    ///
    /// # Errors
    /// What has to be printed instead: an error, or the help or version that was asked for.
    pub fn try_read() -> Result<Self, clap::Error> {
        let matches = without_empty_variables(Self::command()).try_get_matches()?;
        Self::from_arg_matches(&matches)
    }
}

/// Treats empty variables as not set, in all subcommands. Shells, Compose and `.env` files have no better way to unset a
/// variable.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}
