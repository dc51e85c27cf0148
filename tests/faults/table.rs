//! The table of promises with the measured times.

use std::{
    fmt::Write as _,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use crate::row::{Figures, Measured, Row, SiteAndRooms};

/// The head of the table.
const HEAD: &str = "| fault | right again within | site: median | worst | largest error \
                    | rooms: median | worst | largest error | runs | wrong |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n";

/// Collects the results of all runs, row by row.
#[derive(Debug)]
pub(crate) struct Table(Mutex<Vec<Line>>);

#[derive(Debug)]
struct Line {
    name: &'static str,
    fault: &'static str,
    bound: String,
    runs: Vec<Measured>,
    failed: usize,
}

impl Table {
    /// Creates an empty line for each row.
    pub(crate) fn new(rows: &[Row]) -> Self {
        let line = |row: &Row| Line {
            name: row.name,
            fault: row.fault,
            bound: bounds(row),
            runs: Vec::new(),
            failed: 0,
        };
        Self(Mutex::new(rows.iter().map(line).collect()))
    }

    /// Records the result of one run of a row.
    pub(crate) fn note(&self, name: &str, outcome: &Result<Measured, String>) {
        let mut lines = self.lock();
        let line = lines.iter_mut().find(|line| line.name == name).expect("every row has a line");
        match outcome {
            Ok(measured) => line.runs.push(*measured),
            Err(_) => line.failed += 1,
        }
    }

    /// Prints the table, and writes it to the file that `HEADCOUNT_FAULTS_TABLE` names.
    pub(crate) fn publish(&self) {
        let table = self.to_markdown();
        if table.lines().count() == HEAD.lines().count() {
            return;
        }
        println!("{table}");
        if let Some(path) = std::env::var_os("HEADCOUNT_FAULTS_TABLE") {
            let written = std::fs::write(&path, &table);
            written.unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
        }
    }

    fn to_markdown(&self) -> String {
        let mut text = String::from(HEAD);
        let lines = self.lock();
        for line in lines.iter().filter(|line| line.runs.len() + line.failed > 0) {
            line.write_to(&mut text);
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// The bound of both, or the bounds of each.
fn bounds(row: &Row) -> String {
    let SiteAndRooms { site, rooms } = row.bounds();
    match row.of_rooms.bound {
        None => site.to_string(),
        Some(_) => format!("{site}; rooms: {rooms}"),
    }
}

impl Line {
    fn write_to(&self, text: &mut String) {
        let site: Vec<Figures> = self.runs.iter().map(|run| run.site).collect();
        let rooms: Vec<Figures> = self.runs.iter().map(|run| run.rooms).collect();
        let written = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            self.fault,
            self.bound,
            cells(&site),
            cells(&rooms),
            self.runs.len() + self.failed,
            self.failed,
        );
        written.expect("a string takes anything");
    }
}

/// The median, the worst and the largest error of these runs.
fn cells(runs: &[Figures]) -> String {
    let mut times: Vec<Duration> = runs.iter().map(|run| run.right_after).collect();
    times.sort_unstable();
    let seconds = |time: Option<&Duration>| match time {
        Some(time) => format!("{:.2} s", time.as_secs_f64()),
        None => String::from("–"),
    };
    let error = runs.iter().map(|run| run.largest_error).max().unwrap_or_default();
    format!("{} | {} | {error}", seconds(times.get(times.len() / 2)), seconds(times.last()))
}
