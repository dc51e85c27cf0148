//! The program with a few changed lines: one build, in which environment variables choose the change.
//!
//! Clock jumps of Redis need a script whose time can be moved, and the checker must be shown wrong programs. The
//! sources of the program contain no hook for either, so a copy of them is patched here.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use headcount_testkit::program::cargo;

/// What is changed in the program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patch {
    /// Only the clock: the script adds [`CLOCK_OFFSET`] to the time.
    Clock,
    /// The script: a part of its text is replaced.
    ScriptPart {
        /// The text to replace, which must be in the script.
        from: &'static str,
        /// The new text.
        to: &'static str,
    },
    /// The whole script.
    Script(&'static str),
    /// A part of the program: see [`PATCHES`].
    Program(&'static str),
}

/// The key with the milliseconds that the patched script adds to the time. Without the key it adds nothing.
pub(crate) const CLOCK_OFFSET: &str = "test:clock-offset";

/// The original script.
const SCRIPT: &str = headcount::store::redis::REPORT_SCRIPT;

const TIME: &str = "local now = time[1] * 1000 + math.floor(time[2] / 1000)";
const TIME_WITH_OFFSET: &str = "local now = time[1] * 1000 + math.floor(time[2] / 1000) + \
                                tonumber(redis.call('GET', 'test:clock-offset') or '0')";

/// A file, the text to replace, and the new text.
const PATCHES: [(&str, &str, &str); 11] = [
    ("Cargo.toml", "name = \"headcount\"", "name = \"headcount-patched\""),
    // The library keeps its name, and its tests are not copied.
    (
        "Cargo.toml",
        "[[test]]\nname = \"faults\"\nharness = false\n",
        "[lib]\nname = \"headcount\"\n",
    ),
    // The other crates are used from their own folders. A copy of them would replace their build.
    ("Cargo.toml", "members = [\"crates/*\"]\n", "members = []\n"),
    ("Cargo.toml", "headcount-testkit.workspace = true\n", ""),
    (
        "src/store/redis.rs",
        "Script::new(REPORT_SCRIPT)",
        "Script::new(&std::env::var(\"PATCH_SCRIPT\").unwrap_or(REPORT_SCRIPT.into()))",
    ),
    (
        "src/cluster/subscriber.rs",
        "        self.rooms.subscribed();\n        self.resync.notify_one();\n",
        "        if std::env::var_os(\"PATCH_PROGRAM\").is_none_or(|patch| patch != \"no resync\") {
            self.rooms.subscribed();\n            self.resync.notify_one();\n        }\n",
    ),
    // Without any page at all, the next reply would mention the missing one, and the counts would be read a second later.
    (
        "src/core/rooms/fold.rs",
        "for (room, count) in page.counts {",
        "for (room, count) in page.counts.iter().filter(|_| page.counts.len() < 50
            || std::env::var_os(\"PATCH_PROGRAM\").is_none_or(|patch| patch != \"no large pages\")) {",
    ),
    (
        "src/core/rooms/fold.rs",
        "if page.since > heard {",
        "if page.since > heard
            && std::env::var_os(\"PATCH_PROGRAM\").is_none_or(|patch| patch != \"no gaps of pages\") {",
    ),
    (
        "src/cluster/reporter.rs",
        "self.rooms.begin_incarnation();",
        "if std::env::var_os(\"PATCH_PROGRAM\").is_none_or(|patch| patch != \"no resend of rooms\") { self.rooms.begin_incarnation(); }",
    ),
    (
        "src/server.rs",
        "grace: self.config.grace,",
        "grace: if std::env::var_os(\"PATCH_PROGRAM\").is_some_and(|patch| patch == \"no grace\") {
            std::time::Duration::ZERO } else { self.config.grace },",
    ),
    (
        "src/broadcast/broadcaster.rs",
        "let is_told = tell(&listener, &CountFrame::new(current_users), &self.flusher);",
        "let is_told = std::env::var_os(\"PATCH_PROGRAM\").is_some_and(|patch| patch == \"no welcome\")
            || tell(&listener, &CountFrame::new(current_users), &self.flusher);",
    ),
];

impl Patch {
    /// The environment variables that the patched program needs.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        match *self {
            Self::Clock => vec![("PATCH_SCRIPT", patched(SCRIPT, TIME, TIME_WITH_OFFSET))],
            Self::ScriptPart { from, to } => vec![("PATCH_SCRIPT", patched(SCRIPT, from, to))],
            Self::Script(script) => vec![("PATCH_SCRIPT", script.to_owned())],
            Self::Program(patch) => vec![("PATCH_PROGRAM", patch.to_owned())],
        }
    }
}

/// The path of the patched program. The first call builds it.
pub(crate) fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(build).clone()
}

/// Copies the sources, and builds them in the target folder of the program, which holds all dependencies
/// already.
fn build() -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let copy = made.join("patched");
    let target = made.parent().expect("it lies in the target folder");
    // The program contains the runbook, and askama.toml says where templates are.
    for name in
        ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "askama.toml", "docs/runbook.md"]
    {
        copy_file(&project.join(name), &copy.join(name), name);
    }
    copy_folder(&project.join("src"), &copy.join("src"), "src");
    // With a test, cargo chooses the same features of the dependencies as for these tests.
    write_if_new(&copy.join("tests/empty.rs"), "//! Nothing.\n");
    let output = cargo()
        .args(["test", "--no-run", "--test", "empty", "--target-dir"])
        .arg(target)
        .current_dir(&copy)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/headcount-patched")
}

fn copy_folder(from: &Path, to: &Path, name: &str) {
    for entry in fs::read_dir(from).expect("a folder of the sources") {
        let entry = entry.expect("a file of the sources");
        let file = entry.file_name();
        let name = format!("{name}/{}", file.display());
        let (from, to) = (entry.path(), to.join(&file));
        if from.is_dir() { copy_folder(&from, &to, &name) } else { copy_file(&from, &to, &name) }
    }
}

fn copy_file(from: &Path, to: &Path, name: &str) {
    let mut text = fs::read_to_string(from).expect("a file of the sources");
    for (_, from, to) in PATCHES.iter().filter(|(file, ..)| *file == name) {
        text = patched(&text, from, to);
    }
    if name == "Cargo.toml" {
        let crates = concat!("path = \"", env!("CARGO_MANIFEST_DIR"), "/crates/");
        text = text.replace("path = \"crates/", crates);
    }
    write_if_new(to, &text);
}

/// Writes a file only if its text changes, because cargo builds again what was written.
fn write_if_new(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder");
    fs::write(path, text).expect("a file");
}

/// The text with one part of it replaced. The part must occur in it.
fn patched(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "not found: {from}");
    text.replacen(from, to, 1)
}
