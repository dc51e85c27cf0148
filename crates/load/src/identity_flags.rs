//! The flags about identities: how many there are, how many connections each has, and how these say whose they are.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use clap::Args;
use serde_json::{Map, Value};

use crate::{
    flag::{Flag, FlagError},
    identities::{IdentityPlan, Proof, Signer},
};

/// The most identities: as many as one report of a large cluster names in an hour, and more than one machine can connect.
const IDENTITIES_MAX: u32 = 1_000_000;
/// The most connections of one identity.
const TABS_MAX: u32 = 1_000;
/// The shortest secret that servers take, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// The largest file with a secret, in bytes: servers read no larger one.
const SECRET_FILE_BYTES_MAX: u64 = 256 * 1024;
/// The longest line of a file of tokens, in bytes. Servers take tokens of 8 KiB; a longer one may be meant to be refused.
const TOKEN_LINE_BYTES_MAX: u64 = 64 * 1024;
/// The most bytes that are read of a file of tokens.
const TOKEN_FILE_BYTES_MAX: u64 = 1 << 30;

/// The flags about identities as given, unchecked.
#[derive(Args, Clone, Debug)]
pub struct IdentityArgs {
    /// Identities among the visitors, each with as many connections as --tabs says: 0 to 1000000. They are counted once each. Other
    /// visitors are counted for themselves.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    identities: String,
    /// Connections of each identity: 1 to 1000. They are spread over the servers, and are in the same rooms.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    tabs: String,
    /// Identities sign in with these tokens, one a line, instead of having visitor keys.
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// Identities sign in with tokens that are signed with this secret (HS256), instead of having visitor keys.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// What tokens of --secret-file say besides sub and exp, as a JSON object, such as {"iss":"…","aud":"…"}.
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
}

impl IdentityArgs {
    /// The identities; `None` if there are none.
    pub(crate) fn check(&self) -> Result<Option<IdentityPlan>, FlagError> {
        let identities = Flag("--identities", &self.identities);
        let identities = identities.number("a whole number", 0, IDENTITIES_MAX)?;
        let tabs = Flag("--tabs", &self.tabs);
        if identities == 0 {
            self.refuse_others()?;
            return Ok(None);
        }
        let tabs = tabs.number("a whole number", 1, TABS_MAX)?;
        Ok(Some(IdentityPlan::new(identities, tabs, self.proof(identities)?)))
    }

    /// Without identities the other flags say nothing.
    fn refuse_others(&self) -> Result<(), FlagError> {
        let given = [
            ("--tabs", Some(self.tabs.clone()).filter(|tabs| tabs != "1")),
            ("--token-file", self.token_file.clone()),
            ("--secret-file", self.secret_file.clone()),
            ("--claims", self.claims.clone()),
        ];
        for (flag, value) in given {
            if let Some(value) = value {
                return Err(Flag(flag, &value).refuse("left out without --identities"));
            }
        }
        Ok(())
    }

    fn proof(&self, identities: u32) -> Result<Proof, FlagError> {
        let claims = self.claims.as_deref().map(|claims| Flag("--claims", claims));
        match (&self.token_file, &self.secret_file) {
            (Some(path), Some(_)) => {
                Err(Flag("--token-file", path).refuse("left out with --secret-file"))
            }
            (None, Some(path)) => {
                let flag = Flag("--secret-file", path);
                let secret = secret(path).map_err(|why| unreadable(&flag, &why))?;
                let secret = secret.trim_end_matches(['\r', '\n']);
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(
                        flag.refuse(format!("a file with {SECRET_BYTES_MIN} bytes or more"))
                    );
                }
                let claims = claims.map(|flag| object(&flag)).transpose()?.unwrap_or_default();
                Ok(Proof::Signed(Arc::new(Signer::new(secret.as_bytes(), claims))))
            }
            (path, None) => match (claims, path) {
                (Some(claims), _) => Err(claims.refuse("left out without --secret-file")),
                (None, Some(path)) => tokens(&Flag("--token-file", path), identities),
                (None, None) => Ok(Proof::VisitorKey),
            },
        }
    }
}

/// Each identity needs a token of its own.
fn tokens(flag: &Flag<'_>, identities: u32) -> Result<Proof, FlagError> {
    let most = identities as usize;
    let tokens = File::open(flag.1).and_then(|file| different_lines(file, most));
    let tokens = tokens.map_err(|why| unreadable(flag, &why))?;
    if tokens.len() < most {
        let allowed = format!(
            "a file with {identities} different tokens (--identities), one a line; it has {}",
            tokens.len()
        );
        return Err(flag.refuse(allowed));
    }
    Ok(Proof::Tokens(tokens.into()))
}

/// Reads until there are enough different lines that are not empty. A device or a pipe may have no end and no line breaks, and does
/// not say so.
fn different_lines(from: impl Read, most: usize) -> io::Result<Vec<Arc<str>>> {
    let mut from = BufReader::new(from.take(TOKEN_FILE_BYTES_MAX));
    let (mut seen, mut lines, mut line) = (HashSet::new(), Vec::new(), String::new());
    while lines.len() < most {
        line.clear();
        if from.by_ref().take(TOKEN_LINE_BYTES_MAX + 1).read_line(&mut line)? == 0 {
            break;
        }
        if line.len() as u64 > TOKEN_LINE_BYTES_MAX {
            return Err(too_long("a line of it", TOKEN_LINE_BYTES_MAX));
        }
        let text: Arc<str> = line.trim().into();
        if !text.is_empty() && seen.insert(Arc::clone(&text)) {
            lines.push(text);
        }
    }
    Ok(lines)
}

fn secret(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SECRET_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(too_long("it", SECRET_FILE_BYTES_MAX));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no text in UTF-8"))
}

fn too_long(what: &str, most: u64) -> io::Error {
    io::Error::other(format!("{what} has more than {most} bytes"))
}

fn unreadable(flag: &Flag<'_>, why: &io::Error) -> FlagError {
    flag.refuse(format!("a file that can be read ({why})"))
}

fn object(flag: &Flag<'_>) -> Result<Map<String, Value>, FlagError> {
    let object = serde_json::from_str(flag.1).ok();
    object.ok_or_else(|| flag.refuse("a JSON object, such as {\"aud\":\"headcount\"}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::flags::tests::check;

    /// A file with this text.
    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    /// Goal: without --connections there are as many as the identities have; with it the rest has no identity. Method: both, and no
    /// identities.
    #[test]
    fn connections_follow_identities() {
        let config = check(&["--identities=20", "--tabs=3"]).unwrap();
        assert_eq!(config.connections, 60);
        let plan = config.identities.unwrap();
        assert_eq!((plan.identities, plan.tabs, plan.proof.name()), (20, 3, "visitor key"));
        let more = check(&["--identities=20", "--tabs=3", "--connections=70"]).unwrap();
        assert_eq!(more.connections, 70);
        assert!(check(&[]).unwrap().identities.is_none());
    }

    /// Goal: flags that make no sense together are refused, with the flag that is wrong and why. Method: one combination each.
    #[rstest]
    #[case(&["--tabs=3"], "--tabs", "without --identities")]
    #[case(&["--claims={}"], "--claims", "without --identities")]
    #[case(&["--token-file=/x"], "--token-file", "without --identities")]
    #[case(&["--secret-file=/x"], "--secret-file", "without --identities")]
    #[case(&["--identities=9", "--claims={}"], "--claims", "without --secret-file")]
    #[case(&["--identities=9", "--token-file=/x", "--secret-file=/x"], "--token-file", "with --secret-file")]
    #[case(&["--identities=9", "--token-file=/nowhere/x"], "--token-file", "No such file")]
    #[case(&["--identities=9", "--secret-file=/nowhere/x"], "--secret-file", "No such file")]
    #[case(&["--identities=9", "--tabs=0"], "--tabs", "from 1 to 1000")]
    #[case(&["--identities=-1"], "--identities", "from 0 to 1000000")]
    #[case(&["--identities=40", "--tabs=3", "--connections=100"], "--connections", "from 120 to")]
    #[case(&["--identities=1000000", "--tabs=1000"], "--identities", "--tabs")]
    fn senseless_flags_are_refused(#[case] flags: &[&str], #[case] flag: &str, #[case] hint: &str) {
        let message = check(flags).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{flag} is ")), "{message}");
        assert!(message.contains(", but must be ") && message.contains(hint), "{message}");
    }

    /// Goal: each identity has a token of its own. Method: files with enough tokens, with one that occurs twice, and with empty lines.
    #[test]
    fn tokens_are_read() {
        let read = |text: &str| {
            let file = file(text);
            let path = format!("--token-file={}", file.path().display());
            check(&["--identities=2", &path]).map_err(|error| error.to_string())
        };
        let plan = read("a.b.c\n\n d.e.f \r\n").unwrap().identities.unwrap();
        let Proof::Tokens(tokens) = plan.proof else { panic!("tokens were given") };
        assert_eq!(&*tokens, ["a.b.c".into(), "d.e.f".into()]);
        let error = read("a.b.c\na.b.c\n").unwrap_err();
        assert!(
            error.ends_with("different tokens (--identities), one a line; it has 1"),
            "{error}"
        );
    }

    /// Goal: files without an end are refused soon, whatever they are. Method: devices,
    /// folders, lines on both sides of the limit, and a file without an end that begins with what is needed.
    #[test]
    fn files_without_an_end_are_refused() {
        for (flag, path) in [
            ("--token-file", "/dev/zero"),
            ("--secret-file", "/dev/zero"),
            ("--secret-file", "/dev/urandom"),
            ("--secret-file", "/"),
            ("--token-file", "/"),
            ("--token-file", "/dev/null"),
        ] {
            let error = check(&["--identities=30", &format!("{flag}={path}")]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{flag} is ")), "{error}");
        }
        let most = usize::try_from(TOKEN_LINE_BYTES_MAX).unwrap();
        for (bytes, is_read) in [(most - 1, true), (most + 1, false)] {
            let line = format!("{}\n", "x".repeat(bytes));
            let read = different_lines(line.as_bytes(), 2);
            assert_eq!(read.is_ok_and(|lines| lines.len() == 1), is_read, "{bytes}");
        }
        let endless = io::repeat(b'a').take(9).chain(&b"\nb\n"[..]).chain(io::repeat(0));
        assert_eq!(different_lines(endless, 2).unwrap(), ["aaaaaaaaa".into(), "b".into()]);
    }

    /// Goal: a secret that no server takes is refused without being shown, and claims are a JSON object. Method: files on both sides of
    /// the rule, and claims of another type.
    #[test]
    fn secrets_are_read() {
        let read = |text: &str, claims: &str| {
            let file = file(text);
            let path = format!("--secret-file={}", file.path().display());
            let claims = format!("--claims={claims}");
            check(&["--identities=2", &path, &claims]).map_err(|error| error.to_string())
        };
        let secret = "0123456789abcdef0123456789abcdef\n";
        let plan = read(secret, "{\"aud\":\"a\"}").unwrap().identities.unwrap();
        assert_eq!(plan.proof.name(), "token");
        let error = read(&secret[1..], "{}").unwrap_err();
        assert!(error.ends_with("32 bytes or more") && !error.contains("1234"), "{error}");
        for claims in ["", "[]", "7", "{"] {
            assert!(read(secret, claims).unwrap_err().starts_with("--claims is "), "{claims}");
        }
    }
}
