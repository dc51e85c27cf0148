//! Licences and sources of all dependencies, by deny.toml. Advisories need the network: a workflow asks for them.

use std::{fs, process::Command};

use crate::{python, read, root, run};

/// Goal: nothing with a licence that forbids our use, and nothing from elsewhere than crates.io, gets into either lock
/// file. Method: hold the packages of both workspaces against deny.toml; a list without one of its licences must refuse.
#[test]
fn dependencies_are_as_deny_toml_allows() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let stricter = folder.path().join("deny.toml");
    let rules = read("deny.toml");
    assert!(rules.contains("    \"ISC\",\n"), "{rules}");
    fs::write(&stricter, rules.replace("    \"ISC\",\n", "")).expect("it is written");
    for manifest in ["Cargo.toml", "bench/Cargo.toml"] {
        let mut cargo = Command::new(env!("CARGO"));
        let arguments =
            ["metadata", "--format-version=1", "--locked", "--quiet", "--manifest-path"];
        let metadata = run(cargo.args(arguments).arg(manifest), "");
        assert!(metadata.succeeded, "{}", metadata.text);

        let check = |rules| {
            let mut command = python("python");
            let ran = run(command.arg("tests/project/licenses.py").arg(rules), &metadata.output);
            assert!(ran.succeeded, "{}", ran.text);
            let mut lines: Vec<String> = ran.text.lines().map(Into::into).collect();
            let packages = lines.pop().unwrap_or_default();
            let number = packages.split(' ').next().and_then(|number| number.parse::<u32>().ok());
            assert!(number > Some(100), "{manifest}: all packages are looked at: {packages}");
            lines
        };
        assert_eq!(check(root().join("deny.toml")), Vec::<String>::new(), "{manifest}");
        let refused = check(stricter.clone());
        assert!(refused.iter().any(|line| line.ends_with("has the licence ISC")), "{refused:?}");
    }
}

/// Goal: what is refused by its source is noticed too. Method: one package of a git repository, and one without a licence.
#[test]
fn a_package_from_elsewhere_is_found() {
    let metadata = r#"{"packages": [
        {"name": "fork", "version": "1.0.0", "license": "MIT", "source": "git+https://git.example/fork#1"},
        {"name": "bare", "version": "2.0.0", "license": null, "source": null}
    ]}"#;
    let ran = run(python("python").args(["tests/project/licenses.py", "deny.toml"]), metadata);
    assert!(
        ran.text.contains("fork 1.0.0 comes from git+https://git.example/fork#1"),
        "{}",
        ran.text
    );
    assert!(ran.text.contains("bare 2.0.0 has the licence None"), "{}", ran.text);
}
