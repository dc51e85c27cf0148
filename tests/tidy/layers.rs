//! The order of the layers: a folder of `src` imports only from folders below it, and no files import each other in a
//! circle. This keeps the picture in ARCHITECTURE.md true.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use syn::{
    Attribute, Item, ItemMod, ItemUse, UseTree,
    visit::{self, Visit},
};

use super::{files, nothing_in, read};

/// The folders of `src` by floor, from the lowest to the highest. A folder may import from any lower floor.
const FLOORS: [&[&str]; 7] = [
    &["core", "memory", "net", "protocol", "telemetry"],
    &["access", "cli", "store"],
    &["identity"],
    &["config", "engine", "web"],
    &["broadcast", "cluster", "http"],
    &["ops", "socketioxide"],
    &["server"],
];
/// Files that may import everything, and that nothing imports: the library's list of modules, and the program.
const ROOTS: [&str; 2] = ["src/lib.rs", "src/main.rs"];
/// The folder of fixtures, which only tests may use.
const FIXTURES: &str = "fixtures";

/// Goal: the order of the folders shows what a file cannot depend on. Method: read all imports of all files, and
/// compare the folders of both ends.
#[test]
fn a_folder_imports_only_what_stands_below_it() {
    let graph = Graph::of_sources();
    let wrong = graph.imports().filter_map(|(from, to)| {
        let (upper, lower) = (folder(from), folder(to));
        let is_below = matches!((floor(upper), floor(lower)), (Some(a), Some(b)) if a > b);
        (upper != lower && !is_below).then(|| format!("{from} imports {to}"))
    });
    nothing_in(wrong.collect::<Vec<_>>(), "imports that go up or sideways");
    for name in FLOORS.concat() {
        assert!(graph.files().any(|file| folder(file) == name), "there is no folder {name}");
    }
}

/// Goal: every file can be understood after the files that it imports. Method: follow the imports from every file, and
/// look for a way back.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let graph = Graph::of_sources();
    let circles = graph.files().filter_map(|file| {
        let way = graph.way_back_to(file)?;
        Some(way.join(" -> "))
    });
    nothing_in(circles.collect::<Vec<_>>(), "circles");
}

/// Goal: the two tests above can fail. Method: invented sources with an upward import, and with circles by absolute,
/// relative and nested imports. Imports of tests do not count.
#[test]
fn wrong_imports_are_found() {
    let graph = Graph::of(&[
        ("src/core/count.rs", "use crate::store::Store; use super::view::View;"),
        ("src/core/view.rs", "fn f() { let x: crate::core::pace::Pace; }"),
        ("src/core/pace.rs", "use crate::{core::{count::Count}, net};"),
        (
            "src/core/apart.rs",
            "#[cfg(test)] mod tests { use crate::core::apart; use super::view; }",
        ),
        ("src/store.rs", "mod redis; use redis::Pool; #[cfg(test)] use crate::core::view::View;"),
        ("src/store/redis.rs", "use super::Store;"),
        ("src/net.rs", ""),
    ]);
    let imports: BTreeSet<_> = graph.imports().collect();
    let expected = [
        ("src/core/count.rs", "src/store.rs"),
        ("src/core/count.rs", "src/core/view.rs"),
        ("src/core/view.rs", "src/core/pace.rs"),
        ("src/core/pace.rs", "src/core/count.rs"),
        ("src/core/pace.rs", "src/net.rs"),
        ("src/store.rs", "src/store/redis.rs"),
        ("src/store/redis.rs", "src/store.rs"),
    ];
    assert_eq!(imports, BTreeSet::from(expected));
    let way = graph.way_back_to("src/core/count.rs").expect("there is a circle");
    let circle = ["count", "view", "pace", "count"].map(|name| format!("src/core/{name}.rs"));
    assert_eq!(way, circle);
    assert!(graph.way_back_to("src/store.rs").is_some());
    assert!(graph.way_back_to("src/core/apart.rs").is_none());
    assert!(floor(folder("src/core/count.rs")) < floor(folder("src/store.rs")));
}

/// Goal: ARCHITECTURE.md describes every layer. Method: look for the name of each folder in it.
#[test]
fn the_architecture_names_every_layer() {
    let text = read("ARCHITECTURE.md");
    let missing = FLOORS.concat().into_iter().filter(|name| !text.contains(&format!("`{name}`")));
    nothing_in(missing.map(str::to_owned).collect::<Vec<_>>(), "layers without a word");
}

/// The folder of `src` that a file belongs to.
fn folder(file: &str) -> &str {
    let inside = file.strip_prefix("src/").expect("it is a source");
    let end = inside.find(['/', '.']).unwrap_or(inside.len());
    &inside[..end]
}

fn floor(folder: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&folder))
}

/// The imports between files.
#[derive(Default)]
struct Graph {
    imports: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of_sources() -> Self {
        let is_code = |path: &Path| {
            let name = path.to_str().expect("names of files are text");
            let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
            name.starts_with("src/")
                && !is_test
                && !ROOTS.contains(&name)
                && folder(name) != FIXTURES
        };
        let sources: Vec<_> =
            files(&["rs"]).into_iter().filter(|(path, _)| is_code(path)).collect();
        assert!(sources.len() > 60, "the sources are found");
        let sources: Vec<_> = sources
            .iter()
            .map(|(path, text)| (path.to_str().expect("it is text"), text.as_str()))
            .collect();
        Self::of(&sources)
    }

    fn of(sources: &[(&str, &str)]) -> Self {
        let modules: BTreeMap<_, _> =
            sources.iter().map(|&(file, _)| (module(file), file.to_owned())).collect();
        let imports = sources.iter().map(|&(file, text)| {
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
            let mut paths = Paths { module: module(file), found: Vec::new() };
            paths.visit_file(&parsed);
            let mut imported: BTreeSet<_> =
                paths.found.iter().filter_map(|path| file_of(path, &modules)).collect();
            imported.remove(file);
            (file.to_owned(), imported)
        });
        Self { imports: imports.collect() }
    }

    fn files(&self) -> impl Iterator<Item = &str> {
        self.imports.keys().map(String::as_str)
    }

    fn imports(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.imports.iter();
        all.flat_map(|(from, to)| to.iter().map(move |to| (from.as_str(), to.as_str())))
    }

    /// The shortest chain of imports from a file to itself.
    fn way_back_to(&self, file: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![file.to_owned()]];
        let mut seen = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                let last = way.last().expect("a way begins somewhere");
                for next in self.imports.get(last).into_iter().flatten() {
                    let way = [way.clone(), vec![next.clone()]].concat();
                    if next == file {
                        return Some(way);
                    }
                    if seen.insert(next.clone()) {
                        longer.push(way);
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

/// The path of a file's module inside the crate.
fn module(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").and_then(|file| file.strip_suffix(".rs"));
    inside.expect("it is a source").split('/').map(str::to_owned).collect()
}

/// The file that contains a path: the module with the longest matching part.
fn file_of(path: &[String], modules: &BTreeMap<Vec<String>, String>) -> Option<String> {
    (1..=path.len()).rev().find_map(|length| modules.get(&path[..length]).cloned())
}

/// Collects the import paths of one file, from the root of the crate.
struct Paths {
    module: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Paths {
    /// A path that begins with neither `crate` nor `super` leads to a child of the module, or out of the crate.
    fn add(&mut self, path: &[String]) {
        let absolute = match path.first().map(String::as_str) {
            Some("crate") => path[1..].to_vec(),
            Some("super") => {
                let parent = &self.module[..self.module.len() - 1];
                [parent, &path[1..]].concat()
            }
            Some("self") => [&self.module, &path[1..]].concat(),
            _ => [&self.module, path].concat(),
        };
        self.found.push(absolute);
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                let longer = [before, &[path.ident.to_string()]].concat();
                self.add_tree(&longer, &path.tree);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(before, tree));
            }
            UseTree::Name(name) => self.add(&[before, &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.add(&[before, &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.add(before),
        }
    }
}

impl Visit<'_> for Paths {
    fn visit_item(&mut self, item: &Item) {
        let is_test = match item {
            Item::Mod(ItemMod { attrs, .. }) | Item::Use(ItemUse { attrs, .. }) => {
                attrs.iter().any(is_for_tests)
            }
            _ => false,
        };
        if !is_test {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if segments.len() > 1 {
            self.add(&segments);
        }
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    let is_cfg = attribute.path().is_ident("cfg");
    is_cfg && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}
