//! The benchmark: starts servers, connects clients, measures, and writes tables and plots.
//!
//! `scripts/bench` builds everything and runs this program. `docs/benchmarks.md` says what is measured and
//! how.

mod visitor;

mod crowd;
mod guests;

mod churn;

mod process;
mod redis;
mod server;

mod circumstances;
mod results;
mod statistics;

mod bounds;
mod chart;
mod tables;

mod bench;

mod clients;
mod first;
mod idle;
mod latency;
mod rooms;
mod scale;
mod script;
mod shared;
mod storm;

mod report;

use std::{net::SocketAddr, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

use bench::{Bench, Plan};
use results::{Circumstances, Results};
use server::{Contender, Folders, Program};

/// Measures the product beside its peers.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure sections and write the figures to a file.
    Run(RunArgs),
    /// Write tables and plots of figures that were measured.
    Report(ReportArgs),
    /// Hold clients on a server until standard input ends; the section `idle` starts it.
    Hold {
        /// The server.
        server: SocketAddr,
        /// How many.
        clients: u64,
    },
    /// Visitors who come and go; the section `first` starts it.
    Come {
        /// Joins a second.
        joins: u64,
        /// For how long.
        seconds: u64,
        /// The servers, in turn.
        servers: Vec<SocketAddr>,
    },
}

#[derive(Args, Debug)]
struct RunArgs {
    /// The sections; all if none is named.
    sections: Vec<String>,
    /// A few minutes, for trying out.
    #[arg(long)]
    quick: bool,
    /// Rounds, instead of the plan's.
    #[arg(long)]
    rounds: Option<u32>,
    /// Sizes of the sections `clients` and `upgrade`, instead of the plan's.
    #[arg(long, value_delimiter = ',')]
    clients: Vec<u64>,
    /// Take part only: contenders by name. Repeatable.
    #[arg(long)]
    only: Vec<String>,
    /// Another build of the product that takes part: NAME=PATH. Repeatable.
    #[arg(long, value_parser = variant)]
    also: Vec<Contender>,
    /// Add rounds to those that are there, instead of replacing them.
    #[arg(long)]
    add: bool,
    /// The folder of release builds.
    #[arg(long, default_value = "target/release")]
    release: PathBuf,
    /// Where figures go; sections that are there already are replaced, unless rounds are added.
    #[arg(long, default_value = "target/bench/results.json")]
    out: PathBuf,
}

#[derive(Args, Debug)]
struct ReportArgs {
    /// The figures.
    #[arg(long, default_value = "target/bench/results.json")]
    from: PathBuf,
    /// Documents whose parts between marks are rewritten; without one the tables go to standard output.
    /// Repeatable.
    #[arg(long)]
    document: Vec<PathBuf>,
    /// The folder for plots.
    #[arg(long, default_value = "target/bench")]
    plots: PathBuf,
}

const SECTIONS: [&str; 10] = [
    clients::NAME,
    clients::UPGRADE,
    storm::NAME,
    latency::NAME,
    first::NAME,
    rooms::NAME,
    script::NAME,
    shared::NAME,
    idle::NAME,
    scale::NAME,
];

fn main() -> Result<()> {
    ctrlc::set_handler(|| process::end_everything()).context("failed to watch for signals")?;
    rlimit::increase_nofile_limit(u64::MAX).context("failed to raise the file limit")?;
    match Cli::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Report(arguments) => report(&arguments),
        Command::Hold { server, clients } => idle::hold(server, clients),
        Command::Come { joins, seconds, servers } => first::come(joins, seconds, &servers),
    }
}

fn run(arguments: RunArgs) -> Result<()> {
    let sections = chosen(&arguments.sections)?;
    let mut plan = if arguments.quick { Plan::quick() } else { Plan::full() };
    plan.rounds = arguments.rounds.unwrap_or(plan.rounds);
    if !arguments.clients.is_empty() {
        plan.clients = arguments.clients;
    }
    let places = Folders { release: arguments.release, peers: PathBuf::from("bench/peers") };
    let mut bench = Bench {
        plan,
        places,
        variants: arguments.also,
        only: arguments.only,
        results: Results::default(),
        round: 0,
        started: Instant::now(),
    };
    let before = Results::read(&arguments.out)?;
    let mut circumstances = Circumstances::now(arguments.quick, 0);
    let described = |circumstances: &Circumstances| {
        sections.iter().map(|name| ((*name).to_owned(), circumstances.clone())).collect()
    };
    if arguments.add {
        // Fails before measuring if the results could not be added later.
        let nothing = Results { sections: described(&circumstances), ..Results::default() };
        before.clone().add(&nothing)?;
    }
    for round in 0..bench.plan.rounds {
        bench.round = round;
        for section in &sections {
            measure(section, &mut bench).with_context(|| format!("section {section}"))?;
        }
        circumstances.rounds = round + 1;
        circumstances.load.1 = circumstances::load();
        bench.results.sections = described(&circumstances);
        let mut all = before.clone();
        if arguments.add {
            all.add(&bench.results)?;
        } else {
            all.merge(&bench.results);
        }
        all.write(&arguments.out)?;
    }
    Ok(())
}

fn report(arguments: &ReportArgs) -> Result<()> {
    let results = Results::read(&arguments.from)?;
    for document in &arguments.document {
        report::update(&results, document)?;
    }
    if arguments.document.is_empty() {
        for section in results.sections.keys() {
            println!("## {section}\n\n{}", report::generated(&results, section));
        }
    }
    report::draw(&results, &arguments.plots)
}

fn measure(section: &str, bench: &mut Bench) -> Result<()> {
    match section {
        clients::NAME => clients::run(bench),
        clients::UPGRADE => clients::run_upgrade(bench),
        storm::NAME => storm::run(bench),
        latency::NAME => latency::run(bench),
        first::NAME => first::run(bench),
        rooms::NAME => rooms::run(bench),
        script::NAME => script::run(bench),
        shared::NAME => shared::run(bench),
        idle::NAME => idle::run(bench),
        scale::NAME => scale::run(bench),
        other => bail!("no section is named {other}"),
    }
}

fn chosen(named: &[String]) -> Result<Vec<&'static str>> {
    if named.is_empty() {
        return Ok(SECTIONS.to_vec());
    }
    let known = |name: &String| {
        let section = SECTIONS.into_iter().find(|section| section == name);
        section.with_context(|| {
            format!("no section is named {name}; there are {}", SECTIONS.join(", "))
        })
    };
    named.iter().map(known).collect()
}

fn variant(argument: &str) -> Result<Contender, String> {
    let (name, path) = argument.split_once('=').ok_or("it is not NAME=PATH")?;
    Ok(Contender::merged(Program::Variant(name.to_owned(), PathBuf::from(path))))
}
