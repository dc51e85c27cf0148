//! The program: reads the settings, sets up logs, runs, and says how it went by its exit code.
//!
//! stdout and stderr may be closed, full, or stuck, which must neither end nor delay an instance.

use std::{
    fmt::Display,
    io::{self, Write},
    process::{self, ExitCode},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, anyhow};
use headcount::{
    cli::{
        health::{self, Question},
        status::{self, Status},
    },
    config::{
        command_line::{Cli, Command},
        health::HealthArgs,
        serve::{Config, ServeArgs},
        setting::ConfigError,
        status::StatusArgs,
    },
    server::{Addresses, Server, redis_store},
    store::Store,
    telemetry::{escaped::escaped_json, log::Log},
};
use headcount_load::{FlagError, LoadArgs};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Exit code for settings that are refused; clap uses it for unknown flags as well.
const BAD_SETTINGS: u8 = 2;
/// Exit code when a second signal cuts the shutdown short: 128 + SIGTERM, as shells show it.
const CUT_SHORT: i32 = 143;
/// Threads that look names up for `headcount load`: each has a stack of its own, and answers come from a cache.
const NAME_LOOKUPS_AT_ONCE: usize = 4;

/// How long the end of the process waits for its last words to be read.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_read() {
        Ok(cli) => cli,
        Err(usage) => return print_usage(usage),
    };
    let done = match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(settings)) => serve(&settings),
        Some(Command::Status(settings)) => status(&settings),
        Some(Command::Health(settings)) => health(&settings),
        Some(Command::Load(settings)) => load(&settings),
    };
    done.unwrap_or_else(|error| {
        print_error(format!("{error:#}"));
        let is_refusal = error.is::<ConfigError>() || error.is::<FlagError>();
        if is_refusal { ExitCode::from(BAD_SETTINGS) } else { ExitCode::FAILURE }
    })
}

fn serve(settings: &ServeArgs) -> anyhow::Result<ExitCode> {
    let config = settings.check()?;
    let log = Log::start(&config.log)?;
    let served = run(config, &log);
    log.flush();
    served
}

#[tokio::main]
async fn run(config: Config, log: &Log) -> anyhow::Result<ExitCode> {
    set_up_tls()?;
    let flushed = log.clone();
    let stop = stop_on_signals(move || flushed.flush())?;
    let server = Server::bind(config)?;
    log.count_dropped_lines_in(&server.metrics().log_lines_dropped);
    announce(server.addresses()?)?;
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
        // Anybody may have stored anything there, and this may go to a terminal.
        print_line(&escaped_json(&serde_json::to_string_pretty(&status)?))?;
    } else {
        print_line(&status)?;
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
    print_line(&answer.text.trim_end())?;
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
    let report =
        runtime.block_on(async { headcount_load::run(config, stop_on_signals(|| ())?).await })?;
    if json {
        print_line(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print_line(&report)?;
    }
    Ok(if report.right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// TLS needs to be told which cryptography to use, before the first connection.
fn set_up_tls() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("failed to install a crypto provider: there is one already"))
}

/// The first signal shuts down in order; the second ends the process at once, after `last`.
fn stop_on_signals(last: impl FnOnce() + Send + 'static) -> anyhow::Result<CancellationToken> {
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
        last();
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

/// Prints the start-up line that scripts read. A script that does not read it holds nobody up.
fn announce(addresses: Addresses) -> anyhow::Result<()> {
    let print = move || {
        if let Err(error) = print_line(&addresses) {
            tracing::warn!(error = format!("{error:#}"), "failed to print the start-up line");
        }
    };
    let thread = thread::Builder::new().name("start-up line".to_owned());
    thread.spawn(print).context("failed to start a thread for the start-up line").map(drop)
}

/// Prints to stdout. A reader that has gone has read enough, so that is no error.
fn print_line(line: &dyn Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to stdout")
        }
        _ => Ok(()),
    }
}

/// Prints what was asked for (help, version), or what is wrong with the arguments.
fn print_usage(usage: clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(BAD_SETTINGS));
    if usage.use_stderr() {
        print_within(LAST_WORDS_WITHIN, move || drop(usage.print()));
        return code;
    }
    match usage.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            print_error(format!("failed to write to stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Prints to stderr. If that is closed there is nobody to tell; the exit code still says it.
fn print_error(error: String) {
    print_within(LAST_WORDS_WITHIN, move || drop(writeln!(io::stderr(), "headcount: {error}")));
}

/// Gives a reader that is stuck some time, and no more.
fn print_within(patience: Duration, print: impl FnOnce() + Send + 'static) {
    let (printed, done) = mpsc::sync_channel::<()>(0);
    // The sender is dropped when all is printed, which ends the wait.
    let print = move || {
        print();
        drop(printed);
    };
    if thread::Builder::new().spawn(print).is_ok() {
        let _ = done.recv_timeout(patience);
    }
}
