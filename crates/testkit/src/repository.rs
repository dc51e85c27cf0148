//! Paths of files in the repository that tests start or read, with a check that they are installed.

use std::path::{Path, PathBuf};

/// The root folder of the repository.
pub fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("this crate lies two folders below it")
}

/// The folder of the scripts that run in Node. Panics if their packages are not installed.
pub fn node_folder() -> PathBuf {
    installed("tests/cluster/node", "node_modules")
}

/// The folder of the scripts that run in Python. Their interpreter is `venv/bin/python` in that folder. Panics if their
/// packages are not installed.
pub fn python_folder() -> PathBuf {
    installed("tests/cluster/python", "venv")
}

fn installed(folder: &str, packages: &str) -> PathBuf {
    let folder = root().join(folder);
    let packages = folder.join(packages);
    assert!(packages.exists(), "{} is missing: scripts/test makes it", packages.display());
    folder
}
