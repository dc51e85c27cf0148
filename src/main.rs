//! The program: reads the settings, runs a subcommand, and returns its exit code.

use std::{process::ExitCode, thread};

use anyhow::{Context, anyhow};
use headcount::{
    access::admin_token::AdminToken,
    cli::{
        health::{self, Question},
        signals::stop_on_signals,
        status::{self, Status},
        terminal::{BAD_SETTINGS, print_error, print_line, print_usage},
    },
    config::{
        command_line::{Cli, Command},
        health::HealthArgs,
        serve::{Config, ServeArgs},
        setting::ConfigError,
        status::StatusArgs,
    },
    server::{Addresses, Server, shared_store::redis_store},
    store::Store,
    telemetry::{escaped::escaped_json, log::Log},
};
use headcount_load::{FlagError, LoadArgs};
use tokio::runtime;

/// Threads of `headcount load` that resolve names. Answers come from a cache, so few are needed.
const NAME_LOOKUPS_AT_ONCE: usize = 4;

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
    let query = settings.rooms()?;
    set_up_tls()?;
    let store = redis_store(&redis, status::PATIENCE)?;
    let roster = store.roster().await?;
    // An operator who may not read the peaks may still see the instances.
    let peaks = store.peaks(None).await.unwrap_or_default();
    let mut status = Status::of(&roster).with_peaks(&peaks);
    if let Some(query) = query {
        status = status.with_rooms(&store.rooms(query).await?);
    }
    if settings.json {
        // Names in the store are not trusted, and this may go to a terminal.
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
    let token = settings.admin_token()?;
    let answer = health::ask(address, question, token.as_ref().map(AdminToken::text)).await?;
    print_line(&answer.text.trim_end())?;
    Ok(if answer.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Simulated visitors share one thread, so that the load generator leaves the machine to the server.
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

/// Chooses the cryptography of TLS, which must happen before the first connection.
fn set_up_tls() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("failed to install a crypto provider: there is one already"))
}

/// Prints the start-up line that scripts read, in a thread: a script that does not read it must not delay anything.
fn announce(addresses: Addresses) -> anyhow::Result<()> {
    let print = move || {
        if let Err(error) = print_line(&addresses) {
            tracing::warn!(error = format!("{error:#}"), "failed to print the start-up line");
        }
    };
    let thread = thread::Builder::new().name("start-up line".to_owned());
    thread.spawn(print).context("failed to start a thread for the start-up line").map(drop)
}
