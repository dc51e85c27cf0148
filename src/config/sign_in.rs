//! Settings of signing in and of visitor keys. Keys and secrets are read from files here, and are in no error.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use clap::Args;

use super::{
    setting::{ConfigError, Hidden, Setting},
    store::DEFAULT_KEY,
};
use crate::{
    identity::{
        algorithm::Algorithm,
        key_file::{self, KEY_FILE_BYTES_MAX},
        keys::{Key, KeySet, TRIED_MAX},
        sign_in::{SignInMode, SignInSettings},
        sources::JwksUrl,
        token::TokenRules,
        visitor::VisitorKeys,
    },
    telemetry::escaped::is_plain,
};

const KEYS: &str = "HEADCOUNT_JWT_KEYS";
const ISSUER: &str = "HEADCOUNT_JWT_ISSUER";
const AUDIENCE: &str = "HEADCOUNT_JWT_AUDIENCE";
const ALGORITHMS: &str = "HEADCOUNT_JWT_ALGORITHMS";
const USER_CLAIM: &str = "HEADCOUNT_JWT_USER_CLAIM";
/// The default of `HEADCOUNT_JWT_USER_CLAIM`.
const DEFAULT_USER_CLAIM: &str = "sub";
const SIGN_IN: &str = "HEADCOUNT_SIGN_IN";
const VISITORS: &str = "HEADCOUNT_VISITORS";
const VISITOR_SECRET_FILE: &str = "HEADCOUNT_VISITOR_SECRET_FILE";

/// The most sources of keys.
const SOURCES_MAX: usize = 16;
/// The most issuers, and the most audiences.
const NAMES_MAX: usize = 16;
/// The longest issuer, audience or name of a claim, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// What is shown of a setting that may hold a secret.
const NOT_SHOWN: &str = "(not shown: it may hold a secret)";
/// Claims with a meaning of their own, which cannot say whose a token is.
const OTHER_CLAIMS: [&str; 7] = ["iss", "aud", "exp", "nbf", "iat", "rooms", "info"];

/// The settings as given, not checked.
#[derive(Args, Clone, Debug)]
pub(super) struct SignInArgs {
    /// Keys that verify tokens: a list with commas between, of https addresses of a JWKS, and of paths of files with a JWKS, public
    /// keys in PEM, or a secret of 32 to 4096 bytes.
    #[arg(long, env = "HEADCOUNT_JWT_KEYS", value_name = "LIST", hide_env_values = true)]
    jwt_keys: Option<Hidden>,
    /// What the claim iss of a token must be; a list with commas between if there are several. Needed with an address of keys.
    #[arg(long, env = "HEADCOUNT_JWT_ISSUER", value_name = "LIST")]
    jwt_issuer: Option<String>,
    /// What the claim aud of a token must contain; a list with commas between if any of several is right. Needed with an address
    /// of keys.
    #[arg(long, env = "HEADCOUNT_JWT_AUDIENCE", value_name = "LIST")]
    jwt_audience: Option<String>,
    /// Algorithms that tokens may be signed with. Default: RS256,ES256,EdDSA, and HS256 if a file has a secret.
    #[arg(long, env = "HEADCOUNT_JWT_ALGORITHMS", value_name = "LIST")]
    jwt_algorithms: Option<String>,
    /// The claim of a token that says whose it is.
    #[arg(long, env = "HEADCOUNT_JWT_USER_CLAIM", value_name = "NAME", default_value = DEFAULT_USER_CLAIM)]
    jwt_user_claim: String,
    /// Who needs a token: off (nobody, tokens are ignored), optional (nobody, but a token must be valid) or required (everybody).
    /// Default: optional if there are keys.
    #[arg(long, env = "HEADCOUNT_SIGN_IN", value_name = "MODE")]
    sign_in: Option<String>,
    /// Whether visitor keys count, by which all tabs of a browser are one user: on or off.
    #[arg(long, env = "HEADCOUNT_VISITORS", value_name = "SWITCH", default_value = "on")]
    visitors: String,
    /// A file with a secret of 32 to 4096 bytes, which visitor keys are hashed with; the same on all instances. Default: a
    /// hash of the name in `HEADCOUNT_KEY`.
    #[arg(
        long,
        env = "HEADCOUNT_VISITOR_SECRET_FILE",
        value_name = "PATH",
        hide_env_values = true
    )]
    visitor_secret_file: Option<Hidden>,
}

impl SignInArgs {
    /// Checks all settings of signing in, and reads the files that they name.
    pub(super) fn check(&self) -> Result<SignInSettings, ConfigError> {
        let Sources { keys, issuers } = self.sources()?;
        let is_there = !keys.keys().is_empty() || !issuers.is_empty();
        let mode = self.mode(is_there)?;
        let needs = |variable, names: &[String]| {
            let missing = names.is_empty() && !issuers.is_empty();
            let allowed =
                format!("set with an address in {KEYS}: an issuer signs tokens for others too");
            if missing { Err(Setting(variable, "").refuse(allowed)) } else { Ok(()) }
        };
        let issuer_names = names(ISSUER, self.jwt_issuer.as_deref())?;
        let audiences = names(AUDIENCE, self.jwt_audience.as_deref())?;
        needs(ISSUER, &issuer_names)?;
        needs(AUDIENCE, &audiences)?;
        let algorithms = self.algorithms(&keys, !issuers.is_empty())?;
        let user_claim = self.user_claim()?;
        self.need_keys(is_there)?;
        let rules = TokenRules { issuers: issuer_names, audiences, algorithms, user_claim };
        Ok(SignInSettings { mode, rules, keys, issuers })
    }

    /// How visitor keys are hashed; `None` if they do not count. `count_key` is the name of the count's key.
    pub(super) fn visitors(
        &self,
        count_key: Option<&str>,
    ) -> Result<Option<VisitorKeys>, ConfigError> {
        let is_on = match self.visitors.as_str() {
            "on" => true,
            "off" => false,
            other => return Err(Setting(VISITORS, other).refuse("on or off")),
        };
        let keys = match &self.visitor_secret_file {
            None => VisitorKeys::of_count(count_key.unwrap_or(DEFAULT_KEY)),
            Some(path) => visitor_secret(path.text())?,
        };
        Ok(is_on.then_some(keys))
    }

    /// Refuses rules for tokens if there is no key that could verify one: they would do nothing.
    fn need_keys(&self, is_there: bool) -> Result<(), ConfigError> {
        let claim = Some(self.jwt_user_claim.as_str()).filter(|claim| *claim != DEFAULT_USER_CLAIM);
        let rules = [
            (ISSUER, self.jwt_issuer.as_deref()),
            (AUDIENCE, self.jwt_audience.as_deref()),
            (USER_CLAIM, claim),
        ];
        let set = rules.into_iter().find_map(|(variable, value)| Some(Setting(variable, value?)));
        match set {
            Some(setting) if !is_there => Err(setting
                .refuse(format!("left out, or {KEYS} be set: without keys no token is looked at"))),
            _ => Ok(()),
        }
    }

    fn sources(&self) -> Result<Sources, ConfigError> {
        let mut sources = Sources::default();
        let Some(list) = &self.jwt_keys else { return Ok(sources) };
        let entries: Vec<_> = list.text().split(',').map(str::trim).collect();
        if entries.len() > SOURCES_MAX {
            return Err(refuse_keys("", &format!("there are more than {SOURCES_MAX}")));
        }
        let mut keys = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            if JwksUrl::is_meant(entry) {
                sources.issuers.push(address(index, entry)?);
            } else {
                keys.extend(file(index, entry)?);
            }
        }
        sources.keys = KeySet::new(keys);
        Ok(sources)
    }

    fn mode(&self, has_keys: bool) -> Result<SignInMode, ConfigError> {
        let Some(text) = self.sign_in.as_deref() else {
            return Ok(if has_keys { SignInMode::Optional } else { SignInMode::Off });
        };
        let mode = match text {
            "off" => SignInMode::Off,
            "optional" => SignInMode::Optional,
            "required" => SignInMode::Required,
            _ => return Err(Setting(SIGN_IN, text).refuse("off, optional or required")),
        };
        if mode != SignInMode::Off && !has_keys {
            return Err(Setting(SIGN_IN, text)
                .refuse(format!("off, or {KEYS} be set: nobody could sign in")));
        }
        Ok(mode)
    }

    fn algorithms(&self, keys: &KeySet, has_issuers: bool) -> Result<Vec<Algorithm>, ConfigError> {
        let has_key = |algorithm: Algorithm| {
            keys.keys().iter().any(|key| key.algorithm() == algorithm)
                || has_issuers && algorithm != Algorithm::Hs256
        };
        let Some(text) = self.jwt_algorithms.as_deref() else {
            let with_secret = has_key(Algorithm::Hs256).then_some(Algorithm::Hs256);
            return Ok(Algorithm::PUBLIC.into_iter().chain(with_secret).collect());
        };
        let setting = Setting(ALGORITHMS, text);
        let allowed = "a list of RS256, ES256, EdDSA and HS256";
        let listed = text.split(',').map(|name| Algorithm::of_name(name.trim()));
        let named: Vec<_> = listed.collect::<Option<_>>().ok_or_else(|| setting.refuse(allowed))?;
        if let Some(missing) = named.iter().find(|algorithm| !has_key(**algorithm)) {
            return Err(setting.refuse(format!(
                "{allowed} for which {KEYS} has a key, and it has none for {missing}"
            )));
        }
        if let Some(unused) = keys.keys().iter().find(|key| !named.contains(&key.algorithm())) {
            let unused = unused.algorithm();
            return Err(
                setting.refuse(format!("{allowed}, with {unused}: {KEYS} has a key for it"))
            );
        }
        Ok(named)
    }

    fn user_claim(&self) -> Result<String, ConfigError> {
        let name = self.jwt_user_claim.as_str();
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && is_plain(name);
        if !fits || name.trim() != name || OTHER_CLAIMS.contains(&name) {
            let allowed = "the name of a claim that holds the id of a user, such as sub or oid, without spaces at either end";
            return Err(Setting(USER_CLAIM, name).refuse(allowed));
        }
        Ok(name.to_owned())
    }
}

#[derive(Default)]
struct Sources {
    keys: KeySet,
    issuers: Vec<JwksUrl>,
}

fn address(index: usize, entry: &str) -> Result<JwksUrl, ConfigError> {
    JwksUrl::parse(entry).map_err(|why| refuse_keys("", &format!("entry {}: {why}", index + 1)))
}

/// Reads a file of keys. The path is shown only if the file is there: it may be a secret that somebody has put into the setting.
fn file(index: usize, entry: &str) -> Result<Vec<Key>, ConfigError> {
    let entry_is = |why: &str| format!("entry {}: {why}", index + 1);
    let contents = read(Path::new(entry)).map_err(|error| {
        let why = format!("there is no file that can be read: {error}; the setting names files, and does not hold keys");
        refuse_keys("", &entry_is(&why))
    })?;
    let set =
        key_file::read(&contents).map_err(|why| refuse_keys(entry, &entry_is(&why.to_string())))?;
    let keys = set.keys();
    for algorithm in Algorithm::ALL {
        let alike = keys.iter().filter(|key| key.id().is_none() && key.algorithm() == algorithm);
        if alike.count() > TRIED_MAX {
            let why = format!("it has more than {TRIED_MAX} keys for {algorithm} without a kid");
            return Err(refuse_keys(entry, &entry_is(&why)));
        }
    }
    let name = Arc::from(entry);
    Ok(keys.iter().map(|key| key.clone().of_file(&name)).collect())
}

/// Reads the file with the secret of visitor keys. As with keys, the path is shown only if the file is there.
fn visitor_secret(path: &str) -> Result<VisitorKeys, ConfigError> {
    let refuse = |shown: &str, why: &str| {
        let allowed = "the path of a file with a secret, as `openssl rand -base64 48` makes one";
        Setting(VISITOR_SECRET_FILE, shown).refuse(format!("{allowed} ({why})"))
    };
    let contents = read(Path::new(path)).map_err(|error| {
        let why = format!("there is no file that can be read: {error}; the setting names a file, and does not hold the secret");
        refuse(NOT_SHOWN, &why)
    })?;
    let secret = key_file::secret(&contents).map_err(|why| refuse(path, &why.to_string()))?;
    Ok(VisitorKeys::with_secret(secret))
}

fn refuse_keys(shown: &str, why: &str) -> ConfigError {
    let shown = if shown.is_empty() { NOT_SHOWN } else { shown };
    Setting(KEYS, shown).refuse(format!(
        "https addresses of key sets (JWKS) and paths of files, with commas between ({why})"
    ))
}

/// Names with commas between.
fn names(variable: &'static str, list: Option<&str>) -> Result<Vec<String>, ConfigError> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let names: Vec<_> = list.split(',').map(str::trim).collect();
    let fits = |name: &&str| (1..=NAME_BYTES_MAX).contains(&name.len()) && is_plain(name);
    if names.len() > NAMES_MAX || !names.iter().all(fits) {
        let allowed = format!(
            "1 to {NAMES_MAX} names of at most {NAME_BYTES_MAX} bytes, with commas between"
        );
        return Err(Setting(variable, list).refuse(allowed));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// Reads a file up to a byte more than it may have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    let most = KEY_FILE_BYTES_MAX as u64 + 1;
    File::open(path)?.take(most).read_to_end(&mut contents)?;
    Ok(contents)
}

#[cfg(test)]
#[path = "sign_in/tests.rs"]
mod tests;
