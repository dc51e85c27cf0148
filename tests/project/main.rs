//! What stands around the code: the version in all its places, the licences of dependencies, GitHub's workflows and forms,
//! links between documents, and the ends of lines.
//!
//! It reads files and runs the tools that `scripts/test project` installs; it changes nothing.

mod documents;
mod github;
mod licenses;
mod version;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, by its path in the repository.
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths of all files that git would commit.
fn paths() -> Vec<PathBuf> {
    let listed = run(
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]),
        "",
    );
    let listed = listed.output.lines().map(PathBuf::from).filter(|path| root().join(path).exists());
    let listed: Vec<PathBuf> = listed.collect();
    assert!(listed.len() > 100, "git lists the files: {listed:?}");
    listed
}

/// Paths and texts of all files that git would commit, but pictures.
fn texts() -> Vec<(PathBuf, String)> {
    let read = |path: PathBuf| fs::read_to_string(root().join(&path)).ok().map(|text| (path, text));
    paths().into_iter().filter_map(read).collect()
}

/// How a tool ended.
struct Ran {
    succeeded: bool,
    /// What it printed to stdout.
    output: String,
    /// What it printed, to either stream.
    text: String,
}

/// Runs a tool in the repository, with this text as its input.
fn run(command: &mut Command, input: &str) -> Ran {
    let streams = command.current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let spawned = streams.stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `scripts/test project` installs what is missing")
    });
    let mut stdin = child.stdin.take().expect("it is piped");
    // A tool that reads nothing closes it.
    stdin.write_all(input.as_bytes()).ok();
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let output = String::from_utf8_lossy(&stdout).into_owned();
    let text = format!("{output}{}", String::from_utf8_lossy(&stderr));
    Ran { succeeded: status.success(), output, text }
}

/// A program of the Python environment beside this file.
fn python(program: &str) -> Command {
    Command::new(root().join("tests/project/venv/bin").join(program))
}

fn nothing_in(found: impl IntoIterator<Item = String>, what: &str) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}
