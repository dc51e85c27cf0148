//! The program: reads the settings, sets up logs, runs, and says how it went by its exit code.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::{self, ExitCode},
};

use anyhow::{Context, anyhow};
use headcount::{
    config::{Cli, Command, ConfigError, HealthArgs, LoadArgs, LogConfig, ServeArgs, StatusArgs},
    health::{self, Question},
    load,
    server::{Server, redis_store},
    status::{self, Status},
    store::Store,
};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Exit code for settings that are refused; clap uses it for unknown flags as well.
const BAD_SETTINGS: u8 = 2;
/// Exit code when a second signal cuts the shutdown short: 128 + SIGTERM, as shells show it.
const CUT_SHORT: i32 = 143;
/// Threads that look names up for `headcount load`: each has a stack of its own, and answers come from a cache.
const NAME_LOOKUPS_AT_ONCE: usize = 4;

fn main() -> ExitCode {
    let cli = Cli::read();
    let done = match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(settings)) => serve(&settings),
        Some(Command::Status(settings)) => status(&settings),
        Some(Command::Health(settings)) => health(&settings),
        Some(Command::Load(settings)) => load(&settings),
    };
    done.unwrap_or_else(|error| {
        complain(&error);
        if error.is::<ConfigError>() { ExitCode::from(BAD_SETTINGS) } else { ExitCode::FAILURE }
    })
}

#[tokio::main]
async fn serve(settings: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = settings.check()?;
    set_up_logs(&config.log)?;
    set_up_tls()?;
    let stop = stop_on_signals()?;
    let server = Server::bind(config)?;
    say(&server.addresses()?)?;
    server.run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

#[tokio::main(flavor = "current_thread")]
async fn status(settings: &StatusArgs) -> anyhow::Result<ExitCode> {
    let redis = settings.check()?;
    set_up_tls()?;
    let store = redis_store(&redis, status::PATIENCE)?;
    let roster = store.roster().await?;
    let status = Status::of(&roster);
    if settings.json {
        say(&serde_json::to_string_pretty(&status)?)?;
    } else {
        say(&status)?;
    }
    Ok(if status.agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[tokio::main(flavor = "current_thread")]
async fn health(settings: &HealthArgs) -> anyhow::Result<ExitCode> {
    let address = settings.check()?;
    let question = match settings {
        HealthArgs { metrics: true, .. } => Question::Metrics,
        HealthArgs { live: true, .. } => Question::Alive,
        _ => Question::Ready,
    };
    let answer = health::ask(address, question).await?;
    say(&answer.text.trim_end())?;
    Ok(if answer.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Simulated visitors share one thread: a generator of load should leave the machine to what it loads.
fn load(settings: &LoadArgs) -> anyhow::Result<ExitCode> {
    let config = settings.check()?;
    let json = config.json;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(NAME_LOOKUPS_AT_ONCE)
        .build()
        .context("failed to start the runtime")?;
    let report = runtime.block_on(async { load::run(config, stop_on_signals()?).await })?;
    if json {
        say(&serde_json::to_string_pretty(&report)?)?;
    } else {
        say(&report)?;
    }
    Ok(if report.right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// TLS needs to be told which cryptography to use, before the first connection.
fn set_up_tls() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("failed to install a crypto provider: there is one already"))
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
        #[allow(clippy::exit, reason = "ending at once is what the second signal asks for")]
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
    let installed = if log.json { builder.json().try_init() } else { builder.try_init() };
    installed.map_err(|error| anyhow!("failed to set up logs: {error}"))
}

fn say(line: &dyn Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("failed to write to stdout")
}

fn complain(error: &anyhow::Error) {
    // If stderr is closed there is nobody to tell; the exit code still says it.
    let _ = writeln!(io::stderr(), "headcount: {error:#}");
}
