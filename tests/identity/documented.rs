//! The examples of docs/identity.md, run without changes.
//!
//! Blocks of `sh` are run in one folder, in their order. Every block of `js`, `python` and `ruby` prints a token, which is
//! verified with the keys that the blocks before have made. Blocks of other languages are not run.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use headcount::identity::{
    algorithm::Algorithm,
    key_file,
    keys::KeySet,
    sign_in::{SignIn, SignInMode, SignInSettings},
    token::TokenRules,
};
use regex::Regex;

use crate::setup::{node, output, python};

/// The file that an example reads, by its variable.
const FILES: [(&str, &str); 2] =
    [("JWT_PRIVATE_KEY_FILE", "jwt-private.pem"), ("JWT_SECRET_FILE", "jwt.secret")];

/// Goal: who copies an example has a token that is accepted. Method: run all of them, and verify what they print with the files
/// that the document gives to Headcount.
#[test]
fn the_examples_issue_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fenced = Regex::new(r"(?ms)^```(\w+)\n(.*?)^```$").unwrap();
    let mut run = BTreeMap::new();
    for block in fenced.captures_iter(include_str!("../../docs/identity.md")) {
        let (_, [language, example]) = block.extract();
        let mut command = match language {
            "sh" => Command::new("sh"),
            "js" => node(),
            "python" => python(),
            "ruby" => Command::new("ruby"),
            _ => continue,
        };
        *run.entry(language).or_insert(0) += 1;
        match language {
            "sh" => drop(output(command.args(["-ec", example]).current_dir(folder))),
            "js" => accept(folder, command.args(["--input-type=module", "--eval", example])),
            "python" => accept(folder, command.args(["-c", example])),
            _ => accept(folder, command.args(["-e", example])),
        }
    }
    assert_eq!(run, BTreeMap::from([("js", 1), ("python", 2), ("ruby", 1), ("sh", 2)]));
}

fn accept(folder: &Path, command: &mut Command) {
    for (variable, file) in FILES {
        command.env(variable, folder.join(file));
    }
    let printed = output(command);
    let token = str::from_utf8(&printed).unwrap().trim_end();
    let identity = with_the_files_in(folder).verify(token, SystemTime::now());
    let identity = identity.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert_eq!(identity.person.user.as_str(), "t:margaret");
    let left = identity.expires_at.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_mins(8) && left <= Duration::from_mins(10), "{left:?}");
}

/// Signs in as an instance does with `HEADCOUNT_JWT_KEYS=jwt.pem,jwt.secret`.
fn with_the_files_in(folder: &Path) -> SignIn {
    let files = ["jwt.pem", "jwt.secret"].map(|name| fs::read(folder.join(name)));
    let keys =
        files.into_iter().flatten().flat_map(|file| key_file::read(&file).unwrap().keys().to_vec());
    let rules = TokenRules {
        issuers: Vec::new(),
        audiences: Vec::new(),
        algorithms: Algorithm::ALL.to_vec(),
        user_claim: "sub".to_owned(),
    };
    let keys = KeySet::new(keys.collect());
    SignIn::new(SignInSettings { mode: SignInMode::Optional, rules, keys, issuers: Vec::new() })
}
