//! The program: reads the settings, sets up logs, runs, and says how it went by its exit code.

use std::{
    io::{self, IsTerminal, Write},
    process::{self, ExitCode},
};

use anyhow::Context;
use clap::Parser;
use headcount::{
    config::{Cli, Command, Config, LogConfig, ServeArgs},
    server::Server,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Exit code for settings that are refused; clap uses it for unknown flags as well.
const BAD_SETTINGS: u8 = 2;
/// Exit code when a second signal cuts the shutdown short: 128 + SIGTERM, as shells show it.
const CUT_SHORT: i32 = 143;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(settings)) => serve(&settings),
    }
}

fn serve(settings: &ServeArgs) -> ExitCode {
    let config = match settings.check() {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    set_up_logs(&config.log)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| {
            anyhow::anyhow!("failed to install a crypto provider: there is one already")
        })?;
    let stop = stop_on_signals()?;
    let server = Server::bind(config)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", server.addresses()?).context("failed to write the start-up line")?;
    stdout.flush()?;
    server.run(stop).await
}

/// The first signal shuts down in order; the second ends the process at once.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "it lives as long as the process, outside the server"
    )]
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        stopping.cancel();
        either(&mut terminate, &mut interrupt).await;
        tracing::warn!("second signal: ending at once");
        #[allow(
            clippy::exit,
            reason = "ending at once is what the second signal asks for"
        )]
        process::exit(CUT_SHORT);
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn set_up_logs(log: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("failed to read the log filter")?;
    let colours = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours);
    let installed = if log.json {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
    installed.map_err(|error| anyhow::anyhow!("failed to set up logs: {error}"))
}

fn complain(error: &dyn std::fmt::Display) {
    // If stderr is closed there is nobody to tell; the exit code still says it.
    let _ = writeln!(io::stderr(), "headcount: {error}");
}
