//! Checks of the documents against the code that they name.

use regex::Regex;

use super::{captured, nothing_in, read};

/// Goal: ARCHITECTURE.md leads a reader to the line that decides. Method: look for every name that stands before the path
/// of a file in that file.
#[test]
fn the_architecture_names_what_exists() {
    let text = read("ARCHITECTURE.md");
    let place = Regex::new(r"((?:`[\w:]+`[^`|]*?)+)\(`(src/[\w/.]+)`\)").expect("it is valid");
    let places: Vec<_> = place.captures_iter(&text).collect();
    assert!(places.len() > 20, "the pattern finds the places: {}", places.len());
    let missing = places.iter().flat_map(|place| {
        let (names, path) = (&place[1], &place[2]);
        let file = read(path);
        let is_defined = move |name: &String| {
            let kinds = ["fn", "struct", "enum", "trait"];
            kinds.iter().any(|kind| file.contains(&format!("{kind} {name}")))
        };
        let missing = captured(r"`(?:\w+::)?(\w+)`", names).into_iter();
        missing.filter(move |name| !is_defined(name)).map(move |name| format!("{name} in {path}"))
    });
    nothing_in(missing.collect::<Vec<_>>(), "named in ARCHITECTURE.md and not there");
}

/// Goal: the README says every reason and outcome that a metric tells apart. Method: compare the values of labels in the
/// source with the metric's row.
#[test]
fn the_readme_lists_every_value_of_a_label() {
    let (labels, readme) = (read("src/telemetry/labels.rs"), read("README.md"));
    let values = r"as `(headcount_\w+)` counts it[\s\S]*?enum \w+ \{([\s\S]*?)\n    \}";
    let values = Regex::new(values).expect("it is valid");
    let enums: Vec<_> = values.captures_iter(&labels).collect();
    assert!(enums.len() >= 5, "the pattern finds the labels: {}", enums.len());
    let missing = enums.iter().flat_map(|found| {
        let metric = format!("`{}{{", &found[1]);
        let row = readme.lines().find(|line| line.starts_with('|') && line.contains(&metric));
        let row = row.unwrap_or_else(|| panic!("{metric} has no row"));
        let values = captured(r#"= "(\w+)""#, &found[2]).into_iter();
        values
            .filter(|value| !row.contains(&format!("`{value}`")))
            .map(move |value| metric.clone() + &value)
    });
    nothing_in(missing.collect::<Vec<_>>(), "values that the README does not say");
}
