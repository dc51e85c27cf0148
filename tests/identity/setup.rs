//! What the tests share: settings of signing in, and programs of others.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use headcount::identity::{
    algorithm::Algorithm,
    keys::KeySet,
    sign_in::{SignIn, SignInMode, SignInSettings},
    sources::JwksUrl,
    token::TokenRules,
};
use serde_json::Value;

/// The issuer of all tokens here.
pub(crate) const ISSUER: &str = "https://id.example/";
/// The audience of all tokens here.
pub(crate) const AUDIENCE: &str = "count";

/// Signs in with these keys of files and of an issuer, and with all algorithms.
pub(crate) fn sign_in(keys: KeySet, issuer: Option<&str>) -> SignIn {
    let rules = TokenRules {
        issuers: vec![ISSUER.to_owned()],
        audiences: vec![AUDIENCE.to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        user_claim: "sub".to_owned(),
    };
    let issuers = issuer.map(|url| JwksUrl::parse(url).unwrap()).into_iter().collect();
    SignIn::new(SignInSettings { mode: SignInMode::Optional, rules, keys, issuers })
}

/// The folder of a language's programs.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity").join(name)
}

/// Node.js, which finds its locked packages.
pub(crate) fn node() -> Command {
    let mut command = Command::new("node");
    command.current_dir(folder("node"));
    command
}

/// Python with its locked packages.
pub(crate) fn python() -> Command {
    Command::new(folder("python").join("venv/bin/python"))
}

/// Runs a program to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    output.stdout
}

/// Runs openssl in a folder.
pub(crate) fn openssl(folder: &Path, arguments: &str) -> Vec<u8> {
    output(Command::new("openssl").args(arguments.split(' ')).current_dir(folder))
}

/// The text at a path of JSON.
pub(crate) fn text<'a>(json: &'a Value, pointer: &str) -> &'a str {
    json.pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {json}"))
}
