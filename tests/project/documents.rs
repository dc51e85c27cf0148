//! Documents and texts: where links lead, which decisions the index names, and how lines end.

use std::path::Path;

use regex::Regex;

use crate::{nothing_in, paths, read, root, texts};

/// Goal: a link in a document leads somewhere. Method: look for the file that each relative link of every Markdown file
/// names, and, where it names a heading as well, for that.
#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("it is valid");
    let mut links = 0;
    let mut broken = Vec::new();
    for (path, text) in
        texts().iter().filter(|(path, _)| path.extension().is_some_and(|md| md == "md"))
    {
        for target in link.captures_iter(text).map(|found| found[1].to_owned()) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            links += 1;
            if !leads_somewhere(path, &target) {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(links > 50, "the pattern finds links: {links}");
    nothing_in(broken, "links to nothing");
}

/// Goal: the check of links can fail. Method: links of each kind, of this file's repository.
#[test]
fn a_link_to_nothing_is_found() {
    let from = Path::new("docs/api.md");
    for good in ["embed.md", "../README.md#settings", "../docs"] {
        assert!(leads_somewhere(from, good), "{good}");
    }
    for broken in ["README.md", "../README.md#no-such-heading", "#no-such-heading"] {
        assert!(!leads_somewhere(from, broken), "{broken}");
    }
}

/// Goal: a decision is found by who looks for it. Method: the index names every page of docs/decisions, and each page has
/// the four parts.
#[test]
fn decisions_are_listed_and_complete() {
    let index = read("docs/decisions/README.md");
    let pages = paths();
    let is_page = |path: &&std::path::PathBuf| {
        path.starts_with("docs/decisions") && !path.ends_with("README.md")
    };
    let pages: Vec<String> =
        pages.iter().filter(is_page).map(|path| path.display().to_string()).collect();
    assert!(pages.len() >= 10, "{pages:?}");
    let parts = [
        "\n## Context\n",
        "\n## Decision\n",
        "\n## What was tried and measured\n",
        "\n## Consequences\n",
    ];
    let wrong = pages.iter().flat_map(|page| {
        let text = read(page);
        let name = page.trim_start_matches("docs/decisions/");
        let mut missing: Vec<String> = Vec::new();
        missing
            .extend((!index.contains(&format!("({name})"))).then(|| "a line in the index".into()));
        missing.extend(
            parts.iter().filter(|part| !text.contains(*part)).map(|part| part.trim().into()),
        );
        missing.into_iter().map(move |missing| format!("{page}: {missing}"))
    });
    nothing_in(wrong, "missing");
}

/// Goal: files are as .editorconfig says, whatever editor wrote them. Method: look at the bytes of all texts.
#[test]
fn lines_end_as_editorconfig_says() {
    let wrong = texts().into_iter().filter_map(|(path, text)| {
        let name = path.display();
        let blank = |line: &str| line.ends_with([' ', '\t']);
        if text.contains('\r') {
            return Some(format!("{name}: carriage returns"));
        }
        if !text.is_empty() && !text.ends_with('\n') {
            return Some(format!("{name}: no end of line at the end"));
        }
        let at = text.lines().position(blank)?;
        Some(format!("{name}:{}: blanks at the end", at + 1))
    });
    nothing_in(wrong, "not as .editorconfig says");
}

/// Whether a link of a document leads to a file or a folder, and to a heading there if it names one.
fn leads_somewhere(document: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let folder = document.parent().unwrap_or(Path::new(""));
    let path = if file.is_empty() { document.to_owned() } else { folder.join(file) };
    let path = root().join(path);
    if heading.is_empty() || path.extension().is_none_or(|extension| extension != "md") {
        return path.exists();
    }
    let Ok(text) = std::fs::read_to_string(path) else {
        return false;
    };
    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading)
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}
