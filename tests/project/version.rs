//! The version: it is defined in Cargo.toml, and every place that repeats it agrees.

use std::{fs, process::Command};

use crate::{nothing_in, read, run, texts};

/// Goal: no place names another version than the one that was built. Method: every place that `scripts/version` knows
/// has the version of Cargo.toml, and the important places are among them.
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

/// Goal: the next release updates every place. Method: search for the present version beside the word headcount. Every
/// match is a place that `scripts/version` knows, or part of the history.
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

/// Goal: the newest release in both changelogs, that of the project and that of the package, is the version. Method:
/// compare the first heading that is a number, and the first entry, if there are any.
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

/// Goal: a mistyped version is refused before it is written. Method: try some texts that are not versions.
#[test]
fn only_a_version_can_be_set() {
    for wrong in ["1.2", "v1.2.3", "1.2.3-rc1", "1.2.3.4"] {
        let ran = run(Command::new("scripts/version").arg(wrong), "");
        assert!(!ran.succeeded && ran.text.contains("is not a version"), "{wrong}: {}", ran.text);
    }
}

/// Goal: a release sets every place, also two in one line. Method: set another version in a copy of the project, and look for
/// places that have kept the old one.
#[test]
fn another_version_is_set_everywhere() {
    let before = places();
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in texts() {
        let copy = folder.path().join(path);
        fs::create_dir_all(copy.parent().expect("it is in a folder")).expect("it can be made");
        fs::write(copy, text).expect("it is writable");
    }
    let made = Command::new("git").args(["init", "--quiet"]).arg(folder.path()).status();
    assert!(made.is_ok_and(|made| made.success()));
    // The script works in the folder that it is in.
    let script = folder.path().join("scripts/version");
    let set = run(Command::new("bash").arg(script).arg("9.8.7"), "");
    assert!(set.succeeded, "{}", set.text);
    assert_eq!(places(), before, "the project itself stays as it is");
    let kept = set.output.lines().filter(|place| !place.ends_with(":9.8.7")).map(str::to_owned);
    nothing_in(kept, "another version than the one that was set");
    assert_eq!(set.output.lines().count(), before.len(), "{}", set.output);
}

/// Paths and versions as printed by `scripts/version`.
fn places() -> Vec<(String, String)> {
    let ran = run(Command::new("scripts/version").arg("--places"), "");
    assert!(ran.succeeded, "{}", ran.text);
    let split =
        |line: &str| line.split_once(':').map(|(path, version)| (path.into(), version.into()));
    ran.output.lines().filter_map(split).collect()
}
