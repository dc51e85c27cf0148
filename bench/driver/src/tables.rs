//! Tables of medians and of paired quotients, in Markdown. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    chart::number,
    results::{Results, Sample},
    statistics::{median, range},
};

/// The order in which servers are shown; others come after these.
const ORDER: [&str; 9] = [
    "headcount",
    "epoll",
    "epoll, rested",
    "io_uring",
    "socketioxide",
    "node",
    "epoll, each",
    "socketioxide, each",
    "node, each",
];

/// The sizes that a section was run with.
pub type Size = BTreeMap<String, u64>;

/// One column.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// The median of a figure, under this heading.
    Median(&'static str, &'static str),
    /// The median of the quotients with another server's figure of the same round, under this heading.
    Times(&'static str, &'static str, &'static str),
}

/// A table of all servers at one size.
pub fn by_server(results: &Results, section: &str, size: &Size, columns: &[Column]) -> String {
    let here: Vec<&Sample> = results.of(section).filter(|sample| sample.size == *size).collect();
    let mut table = head("server", columns);
    for server in servers(results, section) {
        if here.iter().any(|sample| sample.server == server) {
            table.push_str(&row(&server, &here, &server, columns));
        }
    }
    table
}

/// A table of one server at all sizes that have these values.
pub fn by_size(
    results: &Results,
    section: &str,
    (server, key): (&str, &str),
    fixed: &Size,
    columns: &[Column],
) -> String {
    let mut table = head(key, columns);
    for size in sizes(results, section) {
        if fixed.iter().all(|(name, value)| size.get(name) == Some(value)) {
            let here: Vec<&Sample> =
                results.of(section).filter(|sample| sample.size == size).collect();
            let name = number(size.get(key).copied().unwrap_or_default() as f64);
            table.push_str(&row(&name, &here, server, columns));
        }
    }
    table
}

/// The servers of a section, in the order in which they are shown.
pub fn servers(results: &Results, section: &str) -> Vec<String> {
    let all: BTreeSet<&str> = results.of(section).map(|sample| sample.server.as_str()).collect();
    let mut all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    all.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    all
}

/// The sizes of a section, smallest first.
pub fn sizes(results: &Results, section: &str) -> BTreeSet<Size> {
    results.of(section).map(|sample| sample.size.clone()).collect()
}

/// The median of a figure over all rounds.
pub fn median_of(
    results: &Results,
    section: &str,
    server: &str,
    size: &Size,
    figure: &str,
) -> Option<f64> {
    let here = results.of(section).filter(|sample| sample.server == server && sample.size == *size);
    median(here.filter_map(|sample| sample.figures.get(figure).copied()))
}

fn head(first: &str, columns: &[Column]) -> String {
    let headings = columns.iter().map(|column| match column {
        Column::Median(_, heading) | Column::Times(_, _, heading) => *heading,
    });
    let headings: Vec<&str> = headings.collect();
    let lines = "---:|".repeat(columns.len());
    format!("| {first} | {} |\n|---|{lines}\n", headings.join(" | "))
}

fn row(name: &str, here: &[&Sample], server: &str, columns: &[Column]) -> String {
    let cells: Vec<String> = columns.iter().map(|column| cell(here, server, *column)).collect();
    format!("| {name} | {} |\n", cells.join(" | "))
}

fn cell(here: &[&Sample], server: &str, column: Column) -> String {
    let ours = here.iter().filter(|sample| sample.server == server);
    match column {
        Column::Median(figure, _) => {
            let values = ours.filter_map(|sample| sample.figures.get(figure).copied());
            median(values).map_or_else(|| "–".to_owned(), number)
        }
        Column::Times(_, reference, _) if reference == server => "1".to_owned(),
        Column::Times(figure, reference, _) => {
            let quotients: Vec<f64> =
                ours.filter_map(|sample| quotient(here, sample, figure, reference)).collect();
            match (median(quotients.iter().copied()), range(quotients.iter().copied())) {
                (Some(median), Some((low, high))) if quotients.len() > 1 => {
                    format!("{median:.2} ({low:.2}–{high:.2})")
                }
                (Some(median), _) => format!("{median:.2}"),
                _ => "–".to_owned(),
            }
        }
    }
}

/// A figure divided by the reference's figure of the same round.
fn quotient(here: &[&Sample], sample: &Sample, figure: &str, reference: &str) -> Option<f64> {
    let other = here
        .iter()
        .find(|other| other.server == reference && other.round == sample.round)?
        .figures
        .get(figure)?;
    let quotient = sample.figures.get(figure)? / other;
    quotient.is_finite().then_some(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        for (round, (ours, theirs)) in [(2.0, 1.0), (3.0, 2.0), (9.0, 3.0)].into_iter().enumerate()
        {
            for (server, value) in [("headcount", ours), ("epoll", theirs)] {
                results.samples.push(Sample {
                    section: "clients".to_owned(),
                    server: server.to_owned(),
                    size: Size::from([("clients".to_owned(), 1000)]),
                    round: u32::try_from(round).unwrap(),
                    figures: BTreeMap::from([("count_us".to_owned(), value)]),
                });
            }
        }
        results
    }

    /// Goal: quotients are made of figures of the same round, and the median is that of the quotients.
    /// Method: three rounds whose quotients (2, 1.5, 3) have another median than the quotient of the medians
    /// (1.5).
    #[test]
    fn quotients_are_paired() {
        let size = Size::from([("clients".to_owned(), 1000)]);
        let columns = [
            Column::Median("count_us", "µs"),
            Column::Times("count_us", "epoll", "× epoll"),
            Column::Times("count_us", "node", "× node"),
        ];
        let table = by_server(&results(), "clients", &size, &columns);
        let expected = "| server | µs | × epoll | × node |\n|---|---:|---:|---:|\n\
                        | headcount | 3 | 2.00 (1.50–3.00) | – |\n| epoll | 2 | 1 | – |\n";
        assert_eq!(table, expected);
    }

    /// Goal: a table by size has a row for each. Method: one size.
    #[test]
    fn sizes_are_rows() {
        let columns = [Column::Median("count_us", "µs")];
        let results = results();
        let table = by_size(&results, "clients", ("epoll", "clients"), &Size::new(), &columns);
        assert!(table.ends_with("| 1,000 | 2 |\n"), "{table}");
    }
}
