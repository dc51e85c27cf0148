//! The version: Cargo.toml has it, and every place that repeats it agrees.

use std::process::Command;

use crate::{nothing_in, read, run, texts};

/// Goal: nobody runs, pulls or reads of another version than the one that was built. Method: every place that
/// `scripts/version` knows has the version of Cargo.toml, and the places that matter are among them.
#[test]
fn every_place_has_the_version_of_cargo_toml() {
    let places = places();
    let expected = [
        "Cargo.toml",
        "Cargo.lock",
        "bench/Cargo.lock",
        "README.md",
        "deploy/Dockerfile",
        "deploy/kubernetes/base/deployment.yaml",
        "docker-compose.yml",
        "docs/embed-in-your-app.md",
    ];
    for path in expected {
        assert!(places.iter().any(|(place, _)| place == path), "{path} has no version: {places:?}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let differing = places.into_iter().filter(|(_, found)| found != version);
    nothing_in(
        differing.map(|(place, found)| format!("{place} has {found}, Cargo.toml {version}")),
        "other versions; `scripts/version NEW` sets all of them",
    );
}

/// Goal: no place is forgotten by the next release. Method: whatever names the present version beside the word headcount
/// is one of the places that `scripts/version` knows, or part of the history.
#[test]
fn every_place_is_known() {
    let places = places();
    let version = env!("CARGO_PKG_VERSION");
    let history = ["CHANGELOG.md", "docs/decisions", "deploy/debian/changelog"];
    let unknown = texts().into_iter().filter_map(|(path, text)| {
        let name = path.display().to_string();
        let known = places.iter().any(|(place, _)| *place == name);
        let repeats = |line: &&str| line.contains("headcount") && line.contains(version);
        let line = text.lines().find(repeats)?;
        let is_history = history.iter().any(|past| path.starts_with(past));
        (!known && !is_history).then(|| format!("{name}: {line}"))
    });
    nothing_in(unknown, "not known to scripts/version");
}

/// Goal: the newest release in the changelog and in the package's changelog is the version. Method: compare the first
/// heading that is a number, and the first entry, if there are any.
#[test]
fn changelogs_begin_with_the_version() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("CHANGELOG.md");
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let names = headings.filter_map(|heading| heading.split_whitespace().next());
    let mut names = names.map(|name| name.trim_matches(['[', ']']));
    if let Some(newest) = names.find(|name| name.starts_with(|first: char| first.is_ascii_digit()))
    {
        assert_eq!(newest, version, "CHANGELOG.md");
    }
    let debian = texts().into_iter().find(|(path, _)| path.ends_with("debian/changelog"));
    if let Some((path, text)) = debian {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("headcount ({version}")), "{}: {first}", path.display());
    }
}

/// Goal: a mistyped version is refused before it is written. Method: ask for some that are none.
#[test]
fn only_a_version_can_be_set() {
    for wrong in ["1.2", "v1.2.3", "1.2.3-rc1", "1.2.3.4"] {
        let ran = run(Command::new("scripts/version").arg(wrong), "");
        assert!(!ran.succeeded && ran.text.contains("is not a version"), "{wrong}: {}", ran.text);
    }
}

/// Paths and versions, as `scripts/version` lists them.
fn places() -> Vec<(String, String)> {
    let ran = run(Command::new("scripts/version").arg("--places"), "");
    assert!(ran.succeeded, "{}", ran.text);
    let split =
        |line: &str| line.split_once(':').map(|(path, version)| (path.into(), version.into()));
    ran.output.lines().filter_map(split).collect()
}
