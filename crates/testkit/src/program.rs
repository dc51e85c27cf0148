//! Where the program under test is (what cargo built for these tests, or another build of it), and cargo itself, for tests
//! that build another program.
//!
//! Only the package that owns a program is told its path when it is compiled, and that is not this crate. So it is looked
//! for while the test runs.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Names another build of the program.
const OTHER_BUILD: &str = "HEADCOUNT_BIN";
/// Where cargo has built the program; cargo itself says so to the tests that it runs.
const BUILT_BY_CARGO: &str = "CARGO_BIN_EXE_headcount";

/// The path of the program under test. Panics if it is not there.
pub fn path() -> PathBuf {
    let named = [OTHER_BUILD, BUILT_BY_CARGO].into_iter().find_map(env::var_os).map(PathBuf::from);
    existing(named.unwrap_or_else(|| folder().join("headcount")))
}

/// The folder with the programs of the profile that these tests are built in, such as `target/debug`.
pub fn folder() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    folder_for(&test).to_owned()
}

/// Cargo, to build another program in the folders of these tests.
///
/// It must not see what the cargo that runs these tests told them of their package: some dependencies depend on it, and
/// would be built once more, here and again for the next tests.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let about_the_test =
        |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| name.starts_with(start));
    let told = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in told.filter(|name| about_the_test(name)) {
        cargo.env_remove(name);
    }
    cargo
}

/// Cargo puts tests into the folder `deps` beside the programs.
fn folder_for(test: &Path) -> &Path {
    let folder = test.parent().and_then(Path::parent);
    folder.unwrap_or_else(|| panic!("{} is not where cargo puts tests", test.display()))
}

fn existing(program: PathBuf) -> PathBuf {
    assert!(
        program.is_file(),
        "the program under test is missing: {} is no file. `cargo test` builds it; for a test that is started without \
         cargo, run `cargo build` first, or name a program in {OTHER_BUILD}",
        program.display()
    );
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a test that is started without cargo finds the program. Method: the path of a test, as cargo makes them.
    #[test]
    fn the_program_lies_above_the_tests() {
        let test = Path::new("/project/target/debug/deps/cluster-12b8c7fb1121efe3");
        assert_eq!(folder_for(test), Path::new("/project/target/debug"));
    }

    /// Goal: whoever has no program is told what to do. Method: look for one that does not exist.
    #[test]
    #[should_panic(expected = "run `cargo build` first, or name a program in HEADCOUNT_BIN")]
    fn a_missing_program_is_named() {
        existing(PathBuf::from("/nowhere/headcount"));
    }
}
