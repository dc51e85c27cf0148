//! Tests every promise about faults with real processes: each row of the table in `docs/faults.md` is a
//! trial.
//!
//! A trial creates its fault on its own cluster and judges what every client and every instance showed. It
//! measures how long it takes until all show the right count again. `HEADCOUNT_FAULTS_RUNS` sets how often
//! every row is run (once by default). `HEADCOUNT_FAULTS_TABLE` names a file for the table.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table and the logs of a failed trial are for the reader of the output"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the rules on tasks and on the environment are the program's, not its tests'"
)]

mod canary;
mod history;
mod proxy;
mod stage;

mod checker;
mod truth;

mod row;
mod rows;
mod table;

mod checks;
mod mutants;
mod patched;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use table::Table;

fn main() -> ExitCode {
    headcount_testkit::open_files::raise_limit();
    let arguments = Arguments::from_args();
    let runs = number_of_runs();
    let rows = rows::all();
    let table = Arc::new(Table::new(&rows));
    let mut trials = Vec::new();
    for run in 1..=runs {
        for row in rows::all() {
            let table = Arc::clone(&table);
            let name = if runs == 1 { row.name.to_owned() } else { format!("{}::{run}", row.name) };
            trials.push(Trial::test(name, move || {
                let outcome = on_a_runtime(row::run(&row));
                table.note(row.name, &outcome);
                outcome.map(drop).map_err(Into::into)
            }));
        }
    }
    for check in checks::all() {
        trials.push(Trial::test(format!("checker::{}", check.name), move || Ok((check.run)()?)));
    }
    for mutant in &mutants::MUTANTS {
        let name = format!("mutant::{}", mutant.name.replace(' ', "-"));
        trials.push(Trial::test(name, || Ok(on_a_runtime(mutant.is_caught())?)));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    table.publish();
    conclusion.exit_code()
}

/// How often each row is run.
fn number_of_runs() -> usize {
    const VARIABLE: &str = "HEADCOUNT_FAULTS_RUNS";
    let Some(text) = std::env::var_os(VARIABLE) else { return 1 };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|&runs| runs > 0);
    number.unwrap_or_else(|| {
        panic!("{VARIABLE}={}: it must be a whole number above 0", text.display())
    })
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(work)
}
