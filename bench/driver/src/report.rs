//! Turns figures into tables and plots, and puts them into a document between its marks. It never measures,
//! and does not change text that is written by hand.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    bench::FAILED,
    bounds,
    chart::{Chart, Series},
    clients, first, latency,
    results::{Circumstances, Results, Sample},
    rooms, scale, script, shared, storm,
    tables::{Column, Size, by_server, by_size, median_of, servers, sizes},
};

use Column::{Median, Times};

const CLIENTS: &[Column] = &[
    Median("count_us", "µs per count"),
    Times("count_us", "epoll", "× epoll"),
    Times("count_us", "node", "× node"),
    Median("handshake_us", "µs per handshake"),
    Times("handshake_us", "socketioxide", "× socketioxide"),
    Median("handshakes_per_s", "handshakes/s"),
    Median("idle_kb", "kB idle"),
    Median("emitted_kb", "kB after emissions"),
    Median("left_kb", "kB after leaving"),
];
const UPGRADE: &[Column] = &[
    Median("count_us", "µs per count"),
    Times("count_us", "socketioxide", "× socketioxide"),
    Times("count_us", "node", "× node"),
    Median("handshake_us", "µs per join"),
    Times("handshake_us", "socketioxide", "× socketioxide"),
    Times("handshake_us", "node", "× node"),
    Median("idle_kb", "kB idle"),
    Median("emitted_kb", "kB after emissions"),
    Median("left_kb", "kB after leaving"),
];
const STORM: &[Column] = &[
    Median("counts", "counts sent"),
    Median("cpu_s", "s of CPU"),
    Times("cpu_s", "epoll", "× epoll"),
    Times("cpu_s", "node", "× node"),
    Median("until_quiet_s", "s until quiet"),
    Median("lost", "lost connections"),
    Median("wrong_at_the_end", "wrong at the end"),
];
const LATENCY: &[Column] = &[
    Median("p50_ms", "p50, ms"),
    Median("p99_ms", "p99, ms"),
    Median("p999_ms", "p99.9, ms"),
    Median("counts", "counts sent"),
    Median("cpu_s", "s of CPU"),
    Times("cpu_s", "node", "× node"),
    Median("wrong_at_the_end", "wrong at the end"),
];
const FIRST: &[Column] = &[
    Median("p50_ms", "p50, ms"),
    Median("p99_ms", "p99, ms"),
    Median("told", "told"),
    Median("untold", "told nothing"),
];
const ROOMS: &[Column] = &[
    Median("count_us", "µs per count"),
    Times("count_us", "epoll, rested", "× epoll, rested"),
    Times("count_us", "epoll", "× epoll"),
    Times("count_us", "node", "× node"),
    Median("counts", "counts"),
    Median("wrong_at_the_end", "wrong at the end"),
];
const ROOMS_SPREAD: &[Column] = &[
    Median("p50_ms", "p50, ms"),
    Median("p99_ms", "p99, ms"),
    Median("followed", "joins that reached all"),
    Median("unfinished", "that did not"),
    Median("wrong_at_the_end", "wrong at the end"),
];
const ROOMS_KEPT: &[Column] = &[
    Median("room_bytes", "bytes a room"),
    Median("rooms_mb", "MB in all"),
    Median("wrong_at_the_end", "wrong at the end"),
];
const PRESENCE: &[Column] = &[
    Median("user_bytes", "bytes a user"),
    Median("minute_us", "µs a user and minute"),
    Times("minute_us", "headcount", "× headcount"),
    Median("rest_percent", "% of a core at rest"),
    Median("alone_us", "µs a join, alone"),
    Median("together_us", "µs a join, among many"),
    Median("gone_ms", "ms after a crash"),
    Median("gone_max_ms", "of which at once, ms"),
];
const REDIS: &[Column] = &[
    Median("told_per_s", "joins/s answered"),
    Median("cpu_percent", "% of a core"),
    Times("cpu_percent", "node, each", "× node, each"),
    Median("commands_per_s", "commands/s"),
    Median("received_bytes_per_s", "bytes/s in"),
    Median("sent_bytes_per_s", "bytes/s out"),
];
const IDLE: &[Column] = &[
    Median("cpu_ms_per_s", "ms of CPU per s"),
    Times("cpu_ms_per_s", "epoll", "× epoll"),
    Times("cpu_ms_per_s", "node", "× node"),
    Median("cpu_us_per_client_minute", "µs per client and minute"),
];
const SCALE: &[Column] = &[
    Median("joins_per_s", "joins/s"),
    Median("redis_cpu_percent", "Redis, % of a core"),
    Median("commands_per_s", "commands/s"),
    Median("sent_bytes_per_s", "bytes/s out"),
    Median("acknowledged_p50_ms", "acknowledged p50, ms"),
    Median("acknowledged_p99_ms", "p99, ms"),
    Median("known_everywhere_p50_ms", "known elsewhere p50, ms"),
    Median("known_everywhere_p99_ms", "p99, ms"),
    Median("simulator_cpu_percent", "simulator, % of a core"),
];

/// A plot: the file, the title, the section, the size along the axis, the figure, whether it is logarithmic.
type Plot = (&'static str, &'static str, &'static str, &'static str, &'static str, bool);

const PLOTS: [Plot; 14] = [
    ("count", "CPU per delivered count, µs", clients::NAME, "clients", "count_us", false),
    ("handshake", "CPU per handshake, µs", clients::NAME, "clients", "handshake_us", true),
    ("idle-memory", "Memory per idle connection, kB", clients::NAME, "clients", "idle_kb", false),
    ("used-memory", "Memory after emissions, kB", clients::NAME, "clients", "emitted_kb", false),
    ("storm-counts", "Counts sent in a storm", storm::NAME, "joins", "counts", true),
    ("storm-cpu", "CPU of a storm, s", storm::NAME, "joins", "cpu_s", true),
    ("redis-cpu-joins", "Redis, % of a core", shared::NAME, "joins_per_s", "cpu_percent", true),
    (
        "redis-commands-joins",
        "Redis, commands/s",
        shared::NAME,
        "joins_per_s",
        "commands_per_s",
        true,
    ),
    ("redis-cpu-instances", "Redis, % of a core", shared::NAME, "instances", "cpu_percent", true),
    (
        "redis-bytes-instances",
        "Redis, bytes/s sent",
        shared::NAME,
        "instances",
        "sent_bytes_per_s",
        true,
    ),
    ("scale-cpu", "Redis, % of a core", scale::NAME, "instances", "redis_cpu_percent", false),
    ("scale-commands", "Redis, commands/s", scale::NAME, "instances", "commands_per_s", false),
    (
        "scale-known-p50",
        "Known elsewhere, median, ms",
        scale::NAME,
        "instances",
        "known_everywhere_p50_ms",
        false,
    ),
    (
        "scale-known-p99",
        "Known elsewhere, p99, ms",
        scale::NAME,
        "instances",
        "known_everywhere_p99_ms",
        false,
    ),
];

/// Writes the tables of every section that has marks in the document between these marks.
///
/// # Errors
/// If the document has no marks, or cannot be read or written.
pub fn update(results: &Results, document: &Path) -> Result<()> {
    let mut text =
        fs::read_to_string(document).with_context(|| format!("failed to read {document:?}"))?;
    let mut found = false;
    for section in results.sections.keys() {
        let (start, end) =
            (format!("<!-- begin {section} -->\n"), format!("<!-- end {section} -->"));
        let Some(from) = text.find(&start) else { continue };
        let from = from + start.len();
        let Some(to) = text[from..].find(&end) else { bail!("{document:?} has no {end}") };
        // A mark directly after a table would be one of its rows.
        text.replace_range(from..from + to, &(generated(results, section) + "\n"));
        found = true;
    }
    if !found {
        bail!("{document:?} has marks for none of the sections that were measured");
    }
    fs::write(document, text).with_context(|| format!("failed to write {document:?}"))
}

/// Draws all plots for which there are figures; returns the files.
///
/// # Errors
/// If a file cannot be written.
pub fn draw(results: &Results, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (file, title, section, key, figure, logarithmic) in PLOTS {
        let (title, x) = (title.to_owned(), key.replace('_', " "));
        let series = lines(results, section, key, figure);
        let enough = series.iter().any(|series| series.points.len() > 1);
        let chart = Chart { title, x, logarithmic, series };
        if let Some(svg) = chart.to_svg().filter(|_| enough) {
            fs::write(folder.join(format!("{file}.svg")), svg)?;
        }
    }
    Ok(())
}

/// All tables of one section.
pub fn generated(results: &Results, section: &str) -> String {
    let mut text = String::new();
    if let Some(circumstances) = results.sections.get(section) {
        text = describe(circumstances);
    }
    for (heading, table) in tables(results, section) {
        text.push_str(&format!("\n{heading}:\n\n{table}"));
    }
    let failed = results.of(section).filter(|sample| sample.figures.contains_key(FAILED));
    for sample in failed {
        let Sample { server, size, round, .. } = sample;
        text.push_str(&format!(
            "\n{server} did not finish: {}, round {}.\n",
            describe_size(size),
            round + 1
        ));
    }
    text
}

fn tables(results: &Results, section: &str) -> Vec<(String, String)> {
    if section == scale::NAME {
        return scale_tables(results);
    }
    if section == script::NAME {
        let table = |size: &Size| {
            let is_crowd = size.contains_key(script::CROWD);
            let table = if is_crowd {
                by_server(results, section, size, PRESENCE)
            } else {
                bounds::table(results)
            };
            (describe_size(size), table)
        };
        return sizes(results, section).iter().map(table).collect();
    }
    let columns = match section {
        clients::NAME => CLIENTS,
        clients::UPGRADE => UPGRADE,
        storm::NAME => STORM,
        latency::NAME => LATENCY,
        first::NAME => FIRST,
        shared::NAME => REDIS,
        _ => IDLE,
    };
    let table = |size: &Size| {
        let columns = if section == rooms::NAME { rooms_columns(size) } else { columns };
        (describe_size(size), by_server(results, section, size, columns))
    };
    sizes(results, section).iter().map(table).collect()
}

/// The section `rooms` has several kinds of cases.
fn rooms_columns(size: &Size) -> &'static [Column] {
    match size {
        _ if size.contains_key("instances") => ROOMS_SPREAD,
        _ if size.keys().any(|key| key.starts_with("rooms_kept")) => ROOMS_KEPT,
        _ => ROOMS,
    }
}

fn scale_tables(results: &Results) -> Vec<(String, String)> {
    let mut rates: Vec<u64> = results
        .of(scale::NAME)
        .filter_map(|sample| sample.size.get("joins_per_s_each").copied())
        .collect();
    rates.sort_unstable();
    rates.dedup();
    let table = |rate: &u64| {
        let fixed = Size::from([("joins_per_s_each".to_owned(), *rate)]);
        let table = by_size(results, scale::NAME, ("headcount", "instances"), &fixed, SCALE);
        (format!("{rate} joins/s on each instance"), table)
    };
    rates.iter().map(table).collect()
}

fn describe(circumstances: &Circumstances) -> String {
    let Circumstances { machine, kernel, date, commit, quick, rounds, load } = circumstances;
    let kind = if *quick { "A quick run, not for quoting. " } else { "" };
    let rounds =
        if *rounds == 1 { "One round".to_owned() } else { format!("Medians of {rounds} rounds") };
    format!(
        "{kind}{rounds}, {date}, commit {commit}, {machine}, {kernel}; load average {:.1} before and {:.1} after.\n",
        load.0, load.1
    )
}

fn describe_size(size: &Size) -> String {
    let parts: Vec<String> = size
        .iter()
        .map(|(name, value)| {
            let name = name.replace("joins_per_s", "joins/s").replace('_', " ");
            format!("{} {name}", crate::chart::number(*value as f64))
        })
        .collect();
    parts.join(", ")
}

/// One line for each server; where sizes have a second dimension, at its largest value, but for `scale`, where
/// each of its values has a line.
fn lines(results: &Results, section: &str, key: &str, figure: &str) -> Vec<Series> {
    let all = sizes(results, section);
    let rest = |size: &Size| {
        let mut rest = size.clone();
        rest.remove(key);
        rest
    };
    let mut rests: Vec<Size> = all.iter().map(&rest).collect();
    rests.sort();
    rests.dedup();
    if section != scale::NAME {
        rests.drain(..rests.len().saturating_sub(1));
    }
    let mut lines = Vec::new();
    for fixed in &rests {
        for server in servers(results, section) {
            let sizes = all.iter().filter(|size| rest(size) == *fixed);
            let points = sizes.filter_map(|size| {
                let value = median_of(results, section, &server, size, figure)?;
                Some((size.get(key).copied()? as f64, value))
            });
            let name = if section == scale::NAME { describe_size(fixed) } else { server.clone() };
            let points: Vec<_> = points.collect();
            if !points.is_empty() {
                lines.push(Series { name, points });
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the section on Redis has the table of bounds once, and presence beside that of others as a table of its own.
    /// Method: one sample of each kind.
    #[test]
    fn presence_has_a_table_of_its_own() {
        let sample = |server: &str, size: (&str, u64), figure: (&str, f64)| Sample {
            section: script::NAME.to_owned(),
            server: server.to_owned(),
            size: Size::from([(size.0.to_owned(), size.1)]),
            round: 0,
            figures: [(figure.0.to_owned(), figure.1)].into(),
        };
        let crowd = (script::CROWD, 1_000_000);
        let samples = vec![
            sample("headcount", ("rooms", 10_000), ("crowd_gone_max_ms", 5.1)),
            sample("headcount", crowd, ("minute_us", 0.5)),
            sample("as Centrifugo", crowd, ("minute_us", 20.0)),
        ];
        let results = Results { samples, ..Results::default() };
        let tables = tables(&results, script::NAME);
        let headings: Vec<&str> = tables.iter().map(|(heading, _)| heading.as_str()).collect();
        assert_eq!(headings, ["10,000 rooms", "1,000,000 users in one room"]);
        assert!(tables[0].1.contains("longest call: ms of CPU | 5.10 | 5 | **missed** |"));
        assert!(tables[1].1.contains("| headcount | – | 0.50 | 1 |"), "{}", tables[1].1);
        assert!(tables[1].1.contains("| as Centrifugo | – | 20 | 40.00 |"), "{}", tables[1].1);
    }
}
