//! Checks of the project's style, and of the README against the program.
//!
//! The tests read files and run the program for its help. They change nothing.

mod documents;
mod layers;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;
use syn::{
    Attribute, Block, ImplItemFn, ItemFn, Signature, TraitItemFn,
    spanned::Spanned,
    visit::{self, Visit},
};

/// A longer file has more than one subject.
const FILE_LINES_MAX: usize = 400;
/// A longer function does more than one thing.
const FUNCTION_LINES_MAX: usize = 60;
/// Folders whose contents are generated.
const MADE: [&str; 4] = [".git", "node_modules", "target", "venv"];
/// Names that say nothing about the contents.
const EMPTY_NAMES: [&str; 8] =
    ["common", "helper", "helpers", "manager", "misc", "mod", "util", "utils"];
/// Marks of unfinished work. Each is in two parts, or this list would match itself.
const LEFT_OVERS: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("todo", "!("),
    concat!("dbg", "!("),
    concat!("unimplemented", "!("),
    concat!("#[ig", "nore"),
];
/// Goal: every source file has one subject. Method: count the lines of all sources in every language, and of
/// scripts.
#[test]
fn source_files_are_short() {
    let mut sources = files(&["rs", "js", "mjs", "lua", "css", "sh", "py"]);
    sources.extend(files(&[""]).into_iter().filter(|(_, text)| text.starts_with("#!")));
    assert!(
        sources.iter().any(|(path, _)| path == Path::new("scripts/test")),
        "scripts are looked at"
    );
    let long = sources.iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", path.display()))
    });
    nothing_in(long, "longer than 400 lines");
}

/// Goal: every function does one thing. Method: parse all Rust sources, and measure from `fn` to the closing
/// brace of the body.
#[test]
fn functions_are_short() {
    nothing_in(functions().filter_map(Function::too_long), "longer than 60 lines");
}

/// Goal: every file says what it is responsible for. Method: look at the first line of all Rust sources.
#[test]
fn rust_files_open_with_what_they_own() {
    let sources = files(&["rs"]);
    let silent = sources.iter().filter(|(_, text)| !text.starts_with("//! "));
    nothing_in(silent.map(|(path, _)| path.display().to_string()), "without a `//!` at the top");
}

/// Goal: every test says what it is for. Method: parse all Rust sources. The doc comment of a test states its
/// goal and its method.
#[test]
fn tests_say_their_goal_and_method() {
    let silent = functions().filter(|function| function.is_test && !function.says_its_goal);
    nothing_in(silent.map(|function| function.place), "tests without `Goal: ... Method: ...`");
}

/// Goal: the names of modules say what they contain. Method: compare file and folder names with a list of empty
/// names.
#[test]
fn no_module_has_an_empty_name() {
    let sources = files(&["rs"]);
    let empty = sources.iter().filter(|(path, _)| {
        let names = path.components().map(|part| Path::new(part.as_os_str()).file_stem());
        names.flatten().any(|name| EMPTY_NAMES.iter().any(|empty| name == *empty))
    });
    nothing_in(empty.map(|(path, _)| path.display().to_string()), "named by nothing");
}

/// Goal: the repository contains no unfinished work. Method: search all text files for typical words, except the
/// lock file of cargo.
#[test]
fn nothing_is_left_over() {
    let all = files(&[]);
    let written = all.iter().filter(|(path, _)| path != Path::new("Cargo.lock"));
    let found = written.flat_map(|(path, text)| {
        let words = LEFT_OVERS.iter().filter(|word| text.contains(**word));
        words.map(|word| format!("{}: {word}", path.display()))
    });
    nothing_in(found, "left over");
}

/// Goal: a lock file pins contents, but no hosts of packages. Method: no lock file of npm contains addresses of
/// packages.
#[test]
fn lock_files_of_npm_name_no_host() {
    let mut locks = files(&["json"]);
    locks.retain(|(path, _)| path.ends_with("package-lock.json"));
    assert!(locks.len() >= 3, "{locks:?}");
    for (path, lock) in locks {
        assert!(lock.contains("\"integrity\""), "{} pins contents", path.display());
        assert!(!lock.contains("\"resolved\""), "{} names hosts", path.display());
    }
}

/// Languages of blocks that hold no commands of a shell. A block in any other one would escape the check below.
const NO_COMMANDS: [&str; 17] = [
    "caddyfile",
    "css",
    "go",
    "haproxy",
    "html",
    "javascript",
    "js",
    "json",
    "nginx",
    "php",
    "python",
    "ruby",
    "rust",
    "rust,no_run",
    "text",
    "toml",
    "yaml",
];

/// Goal: every command in a document does what the document says. Method: a marker in front of each block of
/// shell commands names the check of scripts/deploy-test that runs it, or the reason why none does. Only documents that
/// tests/deploy/blocks.py reads can say that a block is run. Every block
/// names its language. All blocks of docs/api.md and docs/embed.md are run by tests/cluster/web/docs.rs, and those of
/// docs/identity.md by tests/identity/documented.rs.
#[test]
fn every_command_block_is_run_or_says_why_not() {
    let marker = r"^<!-- (run: [a-z-]+|parsed: kubectl, without a cluster|not run: .{10,}) -->$";
    let marker = Regex::new(marker).expect("it is valid");
    let mut commands = 0;
    let documents = files(&["md"]).into_iter().flat_map(|(path, text)| {
        let lines: Vec<&str> = text.lines().collect();
        let whole = ["docs/api.md", "docs/embed.md", "docs/identity.md"];
        let whole = whole.iter().any(|name| path == Path::new(name));
        let is_read = path == Path::new("README.md")
            || path == Path::new("ARCHITECTURE.md")
            || path.parent() == Some(Path::new("docs"));
        let is_marked =
            |line: &str| marker.is_match(line) && (is_read || line.starts_with("<!-- not run: "));
        let is_fence = |at: &usize| {
            let line = lines[*at].trim_start();
            line.starts_with("```") || line.starts_with("~~~")
        };
        let openings: Vec<usize> = (0..lines.len()).filter(is_fence).step_by(2).collect();
        let silent = openings.into_iter().filter(|at| match lines[*at].trim_start() {
            "```sh" if whole => false,
            "```sh" => {
                commands += 1;
                *at == 0 || !is_marked(lines[*at - 1])
            }
            other => {
                !other.strip_prefix("```").is_some_and(|language| NO_COMMANDS.contains(&language))
            }
        });
        let silent: Vec<String> =
            silent.map(|at| format!("{}:{}", path.display(), at + 1)).collect();
        silent
    });
    nothing_in(documents.collect::<Vec<_>>(), "blocks without a marker, or not `sh`, `text`, …");
    assert!(commands > 20, "the documents have commands: {commands}");
}

/// Goal: the README lists all metrics that exist, and no others. Method: compare the names in the source of the
/// metrics with those in the README.
#[test]
fn the_readme_lists_every_metric() {
    let name = r#"(?:\bmake\s*\.\s*\w+|\boptions)\(\s*"([a-z_]+)""#;
    let sources =
        ["metrics.rs", "metrics/maker.rs"].map(|file| read(&format!("src/telemetry/{file}")));
    let exist = captured(name, &sources.concat());
    assert!(exist.len() > 15, "the pattern finds the metrics: {exist:?}");
    let listed = captured(r"\bheadcount_([a-z_]+)", &read("README.md"));
    assert_same(&exist, &listed, "metrics");
}

/// Goal: the README lists all settings with their defaults, and no others. Method: compare the variables in the
/// program's help with those in the README's tables.
#[test]
fn the_readme_lists_every_setting() {
    let help = Command::new(env!("CARGO_BIN_EXE_headcount")).arg("--help").output();
    let help = String::from_utf8(help.expect("the program runs").stdout).expect("help is text");
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let readme = read("README.md");
    let exist = captured(r"\[env: (HEADCOUNT_[A-Z_]+)", &help);
    assert!(exist.len() > 10, "the pattern finds the settings: {exist:?}");
    assert_same(&exist, &captured(r"`(HEADCOUNT_[A-Z_]+)`", &readme), "settings");

    let pattern = r#"\[env: (HEADCOUNT_\w+)=?\] \[default: "?([^"\]]*)"?\]"#;
    let pattern = Regex::new(pattern).expect("it is valid");
    let differing = pattern.captures_iter(&help).filter_map(|found| {
        let (variable, default) = (format!("`{}`", &found[1]), &found[2]);
        let mut rows =
            readme.lines().filter(|line| line.starts_with('|') && line.contains(&variable));
        let stated = rows.any(|row| row.contains(default));
        (!stated).then(|| format!("{variable} has the default {default}"))
    });
    nothing_in(differing, "not so in the README");
}

/// One function of the sources.
struct Function {
    place: String,
    lines: usize,
    is_test: bool,
    says_its_goal: bool,
}

impl Function {
    fn too_long(self) -> Option<String> {
        (self.lines > FUNCTION_LINES_MAX).then(|| format!("{}: {} lines", self.place, self.lines))
    }
}

/// All functions of all Rust sources, except those inside macros, which are not parsed.
fn functions() -> impl Iterator<Item = Function> {
    files(&["rs"]).into_iter().flat_map(|(path, text)| {
        let parsed = syn::parse_file(&text);
        let parsed = parsed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut collector = Collector { path, functions: Vec::new() };
        collector.visit_file(&parsed);
        collector.functions
    })
}

struct Collector {
    path: PathBuf,
    functions: Vec<Function>,
}

impl Collector {
    fn add(&mut self, attributes: &[Attribute], signature: &Signature, body: &Block) {
        let (start, end) = (signature.span().start().line, body.span().end().line);
        let is_test = attributes.iter().any(|attribute| {
            let last = attribute.path().segments.last();
            last.is_some_and(|name| name.ident == "test" || name.ident == "rstest")
        });
        let docs: String = attributes.iter().filter_map(doc_line).collect();
        self.functions.push(Function {
            place: format!("{}:{start} {}", self.path.display(), signature.ident),
            lines: end - start + 1,
            is_test,
            says_its_goal: docs.trim_start().starts_with("Goal: ") && docs.contains(" Method: "),
        });
    }
}

impl Visit<'_> for Collector {
    fn visit_item_fn(&mut self, function: &ItemFn) {
        self.add(&function.attrs, &function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        self.add(&function.attrs, &function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &TraitItemFn) {
        if let Some(body) = &function.default {
            self.add(&function.attrs, &function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

/// The text of one line of a doc comment.
fn doc_line(attribute: &Attribute) -> Option<String> {
    let syn::Meta::NameValue(doc) = &attribute.meta else {
        return None;
    };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &doc.value else {
        return None;
    };
    doc.path.is_ident("doc").then(|| line.value())
}

/// Paths within the project and texts of all files with one of these extensions, or of all text files if none is
/// given.
fn files(extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable") {
            let entry = entry.expect("the folder is readable");
            let path = entry.path();
            let is_made = MADE.iter().any(|made| entry.file_name() == *made);
            let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
            if is_made {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if extensions.is_empty() || extensions.contains(&extension) {
                let name = path.strip_prefix(root).expect("it is below the root").to_owned();
                found.extend(fs::read_to_string(&path).ok().map(|text| (name, text)));
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Everything that the first group of a pattern matches.
fn captured(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("it is valid");
    pattern.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

fn assert_same(exist: &BTreeSet<String>, listed: &BTreeSet<String>, what: &str) {
    let missing: Vec<_> = exist.difference(listed).collect();
    let invented: Vec<_> = listed.difference(exist).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what} missing in the README: {missing:?}; in the README but not in the program: {invented:?}"
    );
}

fn nothing_in(found: impl IntoIterator<Item = String>, what: &str) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}
