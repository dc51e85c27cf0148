//! Where files of the repository are that tests start or read, and that they are installed.

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("this crate lies two folders below it")
}

/// The folder of the scripts that run in Node. Panics if their packages are not installed.
pub fn node_folder() -> PathBuf {
    installed("tests/cluster/node", "node_modules")
}

/// The folder of the scripts that run in Python, whose interpreter is `venv/bin/python` there. Panics if their packages are
/// not installed.
pub fn python_folder() -> PathBuf {
    installed("tests/cluster/python", "venv")
}

fn installed(folder: &str, packages: &str) -> PathBuf {
    let folder = root().join(folder);
    let packages = folder.join(packages);
    assert!(packages.exists(), "{} is missing: scripts/test makes it", packages.display());
    folder
}
