//! Every alert says what is wrong, and leads to a section of the runbook that exists. These tests read the rules, their
//! tests, the dashboards and the runbook. They run nothing.

use std::{collections::BTreeSet, fs, path::Path};

use regex::Regex;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const RULES: &str = "deploy/prometheus/rules/headcount.rules.yml";
const TESTS: [&str; 8] = [
    "deploy/prometheus/rules/headcount.test.yml",
    "deploy/prometheus/rules/headcount-records.test.yml",
    "deploy/prometheus/rules/headcount-bounds.test.yml",
    "deploy/prometheus/rules/headcount-rooms.test.yml",
    "deploy/prometheus/rules/headcount-windows.test.yml",
    "deploy/prometheus/rules/headcount-hours.test.yml",
    DAYS,
    "deploy/prometheus/rules/headcount-habits.test.yml",
];
/// What lasts days. It has the queries of the first screens, too.
const DAYS: &str = "deploy/prometheus/rules/headcount-days.test.yml";
const RUNBOOK: &str = "docs/runbook.md";
const DASHBOARDS: [&str; 2] =
    ["grafana/dashboards/headcount.json", "grafana/dashboards/headcount-wall.json"];
/// What each section of the runbook contains, in this order.
const ANSWERS: [&str; 3] = ["**Means:**", "**Look", "o:**"];

/// Goal: every alert is complete and leads to its section of the runbook, and every section belongs to an alert.
/// Method: read all files. Then make every kind of fault in a copy, and expect that it is found.
#[test]
fn every_alert_leads_to_its_section_of_the_runbook() {
    let (rules, runbook) = (read(RULES), read(RUNBOOK));
    let found = faults_of_alerts(&rules, &runbook);
    assert!(found.is_empty(), "{found:#?}");

    let broken = [
        (rules.replace("#headcountdrift", "#headcountdrifts"), runbook.clone()),
        (rules.replace("runbook_url: docs/runbook.md#headcountdeaf\n", ""), runbook.clone()),
        (rules.replacen("description: ", "descriptions: ", 1), runbook.clone()),
        (rules.replacen("severity: critical", "severity: high", 1), runbook.clone()),
        (rules.replace("alert: HeadcountDeaf", "alert: HeadcountMute"), runbook.clone()),
        (rules.clone(), runbook.replace("## HeadcountDrift\n", "## Drift\n")),
        (rules.clone(), format!("{runbook}\n## HeadcountGone\n\n**Means:** **Look:** **Do:**\n")),
        (rules.clone(), runbook.replacen("**Do:** nothing if", "Nothing if", 1)),
    ];
    for (number, (rules, runbook)) in broken.iter().enumerate() {
        assert!(!faults_of_alerts(rules, runbook).is_empty(), "fault {number} is not found");
    }
}

/// Goal: every alert has one test in which it fires and one in which it is silent. Method: look for both in the rule
/// tests of promtool. Then remove one of each kind, and expect that its absence is found.
#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let (rules, tests) = (read(RULES), TESTS.map(read));
    let found = faults_of_cases(&rules, &tests);
    assert!(found.is_empty(), "{found:#?}");

    let silent = "      - {alertname: HeadcountMemoryHigh, eval_time: 3m30s}\n";
    for (without, instead) in
        [(silent, ""), ("alertname: HeadcountTwoVersions\n", "alertname: Other\n")]
    {
        let broken = tests.clone().map(|text| text.replace(without, instead));
        assert_ne!(broken, tests, "{without} is there to be taken away");
        assert!(!faults_of_cases(&rules, &broken).is_empty(), "without {without} nothing is found");
    }
}

/// Goal: the panels that the runbook names exist. Method: every name in italics in a section must be the title of a
/// panel, a row or a dashboard.
#[test]
fn the_panels_that_the_runbook_names_exist() {
    let mut titles = BTreeSet::new();
    for dashboard in DASHBOARDS.map(read) {
        let dashboard: Value = serde_json::from_str(&dashboard).expect("a dashboard is JSON");
        titles_in(&dashboard, &mut titles);
    }
    assert!(titles.len() > 30, "{titles:?}");
    let named = panels_named_in(&read(RUNBOOK));
    assert!(named.len() > 15, "{named:?}");
    let unknown: Vec<_> = named.difference(&titles).collect();
    assert!(unknown.is_empty(), "the runbook names panels that are not there: {unknown:?}");
    let control = panels_named_in("## X\n**Look:** *Drift of instances*: is it 0?");
    assert!(!control.is_subset(&titles) && control.len() == 1, "{control:?}");
}

/// Goal: the first screen of each dashboard says how many there are, and whether to trust it, also where all visitors are only in rooms.
/// Method: promtool's tests have its queries, with both kinds of sites. One that is not among them is found.
#[test]
fn the_first_screens_are_tested_on_a_site_of_rooms() {
    const PANELS: [&str; 3] = ["Can I trust the number?", "Online now", "Peak of today"];
    let tests = YamlLoader::load_from_str(&read(DAYS)).expect("the tests are YAML");
    let tests = tests[0]["tests"].as_vec().expect("there are tests");
    let of_queries = |test: &Yaml| test["promql_expr_test"].as_vec().cloned().unwrap_or_default();
    let tested: BTreeSet<String> = tests
        .iter()
        .flat_map(of_queries)
        .filter_map(|test| Some(test["expr"].as_str()?.to_owned()))
        .collect();
    let is_tested = |query: &str| {
        let filled = |job: &str| query.replace("$job", job).replace("$namespace", ".*");
        ["rooms", "both"].iter().all(|job| tested.contains(&filled(job)))
    };
    for dashboard in DASHBOARDS.map(read) {
        let dashboard: Value = serde_json::from_str(&dashboard).expect("a dashboard is JSON");
        let panels = dashboard["panels"].as_array().expect("it has panels").iter();
        let first = panels.filter(|panel| {
            PANELS.contains(&panel["title"].as_str().unwrap_or_default())
                || panel["type"] == "timeseries"
        });
        let queries: Vec<_> = first
            .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default())
            .filter_map(|target| Some(target["expr"].as_str()?.to_owned()))
            .collect();
        assert_eq!(queries.len(), 9, "{queries:?}");
        let untested: Vec<_> = queries.iter().filter(|query| !is_tested(query)).collect();
        assert!(untested.is_empty(), "promtool does not test {untested:?}");
    }
    assert!(!is_tested("max(headcount:users{job=~\"$job\", namespace=~\"$namespace\"})"));
}

/// An alert of the rules file.
struct Alert {
    name: String,
    rule: Yaml,
}

impl Alert {
    fn text(&self, group: &str, key: &str) -> &str {
        self.rule[group][key].as_str().unwrap_or_default()
    }
}

fn alerts(rules: &str) -> Vec<Alert> {
    let documents = YamlLoader::load_from_str(rules).expect("the rules are YAML");
    let groups = documents[0]["groups"].as_vec().expect("there are groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_vec().expect("it has rules"));
    rules
        .filter_map(|rule| {
            Some(Alert { name: rule["alert"].as_str()?.to_owned(), rule: rule.clone() })
        })
        .collect()
}

fn faults_of_alerts(rules: &str, runbook: &str) -> Vec<String> {
    let alerts = alerts(rules);
    let mut faults = Vec::new();
    let mut fault = |name: &str, what: &str| faults.push(format!("{name}: {what}"));
    let anchors = anchors(runbook);
    for alert in &alerts {
        let name = alert.name.as_str();
        let link = alert.text("annotations", "runbook_url");
        match link.split_once('#') {
            Some((RUNBOOK, anchor))
                if anchors.contains(anchor) && anchor == name.to_lowercase() => {}
            _ => fault(name, &format!("its runbook_url {link:?} leads to no section of its own")),
        }
        for key in ["summary", "description"] {
            if alert.text("annotations", key).len() < 20 {
                fault(name, &format!("it has no {key}"));
            }
        }
        if !["critical", "warning"].contains(&alert.text("labels", "severity")) {
            fault(name, "its severity is neither critical nor warning");
        }
    }
    for (title, section) in sections(runbook) {
        if !alerts.iter().any(|alert| alert.name == title) {
            fault(&title, "the section belongs to no alert");
        }
        let places: Vec<_> = ANSWERS.iter().map(|answer| section.find(answer)).collect();
        if places.contains(&None) || !places.is_sorted() {
            fault(&title, "the section does not say what it means, how to look and what to do");
        }
    }
    faults
}

fn faults_of_cases(rules: &str, tests: &[String]) -> Vec<String> {
    let (mut fires, mut is_silent) = (BTreeSet::new(), BTreeSet::new());
    for text in tests {
        let documents = YamlLoader::load_from_str(text).expect("the tests are YAML");
        for test in documents[0]["tests"].as_vec().expect("there are tests") {
            for expectation in test["alert_rule_test"].as_vec().into_iter().flatten() {
                let name = expectation["alertname"].as_str().expect("it names an alert").to_owned();
                let is_expected =
                    expectation["exp_alerts"].as_vec().is_some_and(|alerts| !alerts.is_empty());
                if is_expected {
                    fires.insert(name)
                } else {
                    is_silent.insert(name)
                };
            }
        }
    }
    let mut faults = Vec::new();
    for Alert { name, .. } in alerts(rules) {
        if !fires.contains(&name) {
            faults.push(format!("{name}: no case in which it fires"));
        }
        if !is_silent.contains(&name) {
            faults.push(format!("{name}: no case in which it is silent"));
        }
    }
    faults
}

/// The sections of the runbook that belong to alerts, by their titles.
fn sections(runbook: &str) -> Vec<(String, String)> {
    let parts = runbook.split("\n## ").skip(1);
    let sections = parts.filter_map(|part| part.split_once('\n'));
    let of_alerts = sections.filter(|(title, _)| title.starts_with("Headcount"));
    of_alerts.map(|(title, text)| (title.to_owned(), text.to_owned())).collect()
}

/// The anchors of all headings, in the form that Markdown viewers generate.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

fn panels_named_in(runbook: &str) -> BTreeSet<String> {
    let pattern = Regex::new(r"(?:^|[^*])\*([A-Z][^*]*)\*(?:[^*]|$)").expect("it is valid");
    let sections = runbook.split_once("## ").map_or("", |(_, sections)| sections);
    let words = sections.split_whitespace().collect::<Vec<_>>().join(" ").replace("**", "\u{0}");
    pattern.captures_iter(&words).map(|found| found[1].to_owned()).collect()
}

fn titles_in(value: &Value, titles: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            titles.extend(fields.get("title").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| titles_in(field, titles));
        }
        Value::Array(items) => items.iter().for_each(|item| titles_in(item, titles)),
        _ => {}
    }
}

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}
