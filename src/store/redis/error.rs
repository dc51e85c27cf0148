//! Turns errors of Redis into [`StoreError`]s, and decides whether the connection can still be used. All text from outside
//! passes through [`Secrets::redact`].

use deadpool_redis::redis::{ConnectionInfo, ErrorKind, RedisConnectionInfo, RedisError};

use super::url::Address;
use crate::{store::StoreError, telemetry::escaped::Escaped};

/// Error codes of a server that does not accept writes for now. The last ones come from a Redis Cluster whose slots are being
/// moved, or are on another node than the address names.
const REFUSALS: [&str; 12] = [
    "READONLY",
    "LOADING",
    "BUSY",
    "OOM",
    "MASTERDOWN",
    "NOREPLICAS",
    "MISCONF",
    "UNKILLABLE",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
];

const DENIALS: [&str; 3] = ["NOAUTH", "WRONGPASS", "NOPERM"];

/// The beginning of the message of a server with too many clients. Its code is a plain `ERR`.
const CROWDED: &str = "max number of clients";

/// The beginnings of the messages for a script that does what its user may not do, in Redis before 7.2 and in Valkey. Their
/// code is a plain `ERR`.
const NOT_IN_SCRIPTS: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

/// The beginning of the message of a server that wants a password, when it is sent a command as long as a report.
const UNAUTHENTICATED: &str = "Protocol error: unauthenticated";

/// Error codes of a server that is not, or no longer, the primary. `MASTERDOWN` comes from a replica that does not serve stale
/// data. `NOREPLICAS` may come from a former primary that lost its replicas to a new one.
const NO_PRIMARY: [&str; 3] = ["READONLY", "MASTERDOWN", "NOREPLICAS"];

/// Users and passwords, which are removed from all text that is shown.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of(address: &Address) -> Self {
        let settings: Vec<&RedisConnectionInfo> = match address {
            Address::Server(server) => vec![server.redis_settings()],
            Address::Sentinels(address) => {
                let all = address.sentinels.iter().chain([&address.primary]);
                all.map(ConnectionInfo::redis_settings).collect()
            }
        };
        let words = settings.into_iter().flat_map(|each| [each.password(), each.username()]);
        Self(words.flatten().filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    /// Removes users and passwords from the text, and escapes it.
    pub(super) fn redact(&self, text: &str) -> Escaped {
        let redacted = |text: String, secret: &String| text.replace(secret.as_str(), "***");
        self.0.iter().fold(text.to_owned(), redacted).into()
    }
}

pub(super) fn classify(error: &RedisError, secrets: &Secrets) -> StoreError {
    classify_of("", error, secrets)
}

/// The same for an error of one server among several. `whom`, the server, is put before the message.
pub(super) fn classify_of(whom: &str, error: &RedisError, secrets: &Secrets) -> StoreError {
    let text = secrets.redact(&format!("{whom}{error}"));
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    if REFUSALS.contains(&code) || detail.starts_with(CROWDED) {
        return StoreError::Refused(text);
    }
    let unauthenticated =
        error.kind() == ErrorKind::AuthenticationFailed || detail.starts_with(UNAUTHENTICATED);
    let denied =
        DENIALS.contains(&code) || NOT_IN_SCRIPTS.iter().any(|start| detail.starts_with(start));
    if denied || unauthenticated {
        return StoreError::Denied(text);
    }
    if code == "WRONGTYPE" {
        return StoreError::WrongType(text);
    }
    if error.is_io_error() {
        return StoreError::Unreachable(text);
    }
    StoreError::Protocol(text)
}

/// Whether the next call must not use this connection: it broke, or leads to a server that is not the primary any more.
pub(super) fn spoils_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || is_no_primary(error)
}

fn is_no_primary(error: &RedisError) -> bool {
    error.code().is_some_and(|code| NO_PRIMARY.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::io;

    use deadpool_redis::redis::parse_redis_value;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::fixtures::mutate::mutated_text;

    fn from_server(line: &str) -> RedisError {
        let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    fn secrets(words: &[&str]) -> Secrets {
        Secrets(words.iter().map(|&word| word.to_owned()).collect())
    }

    /// Goal: every error of a server becomes the right kind of error. Method: the first words of the messages.
    #[rstest]
    #[case("READONLY You can't write against a read only replica.", "refuses", true)]
    #[case("LOADING Redis is loading the dataset in memory", "refuses", false)]
    #[case("BUSY Redis is busy running a script.", "refuses", false)]
    #[case("OOM command not allowed when used memory > 'maxmemory'.", "refuses", false)]
    #[case("MASTERDOWN Link with MASTER is down", "refuses", true)]
    #[case("NOREPLICAS Not enough good replicas to write.", "refuses", true)]
    #[case("MISCONF Redis is configured to save RDB snapshots", "refuses", false)]
    #[case("MOVED 3999 127.0.0.1:6381", "refuses", false)]
    #[case("ASK 3999 127.0.0.1:6381", "refuses", false)]
    #[case("TRYAGAIN Multiple keys request during rehashing of slot", "refuses", false)]
    #[case("CLUSTERDOWN Hash slot not served", "refuses", false)]
    #[case("ERR max number of clients reached", "refuses", false)]
    #[case("WRONGTYPE Operation against a key", "wrong type", false)]
    #[case("NOAUTH Authentication required.", "denies", false)]
    #[case("WRONGPASS invalid username-password pair", "denies", false)]
    #[case("NOPERM this user has no permissions", "denies", false)]
    #[case("ERR The user executing the script can't run this command (HGET)", "denies", false)]
    #[case("NOPERM ACL failure in script: User a has no permissions", "denies", false)]
    #[case("ERR ACL failure in script: User a has no permissions (HGET)", "denies", false)]
    #[case("ERR Protocol error: unauthenticated multibulk length", "denies", false)]
    #[case("ERR unknown command", "failed to understand", false)]
    #[case("NONSENSE", "failed to understand", false)]
    fn server_errors_are_told_apart(
        #[case] line: &str,
        #[case] expected: &str,
        #[case] spoils: bool,
    ) {
        let error = from_server(line);
        let text = classify(&error, &secrets(&[])).to_string();
        assert!(text.contains(expected), "{line} became {text}");
        assert_eq!(spoils_connection(&error), spoils, "{line}");
    }

    /// Goal: an error of a socket means unreachable, and its connection is not used again. Method: several errors.
    #[rstest]
    #[case(io::ErrorKind::ConnectionRefused)]
    #[case(io::ErrorKind::BrokenPipe)]
    #[case(io::ErrorKind::TimedOut)]
    #[case(io::ErrorKind::UnexpectedEof)]
    fn socket_errors_are_unreachable(#[case] kind: io::ErrorKind) {
        let error = RedisError::from(io::Error::from(kind));
        assert!(matches!(classify(&error, &secrets(&[])), StoreError::Unreachable(_)));
        assert!(spoils_connection(&error));
    }

    /// Goal: no message of a server can forge a log line or control the terminal. Method: a message with escapes in it.
    #[test]
    fn errors_are_escaped() {
        let error = from_server("ERR \u{1b}[31mred\u{202e} and\rback");
        let text = classify(&error, &secrets(&[])).to_string();
        assert!(text.contains(r"\u{1b}[31mred\u{202e} and\rback"), "{text}");
    }

    /// Goal: credentials that a server quotes do not reach the log. Method: such a message.
    #[test]
    fn credentials_are_redacted() {
        let error = from_server("ERR user margaret with hunter2 may not");
        let text = classify(&error, &secrets(&["hunter2", "margaret"])).to_string();
        assert!(!text.contains("hunter2") && !text.contains("margaret"), "{text}");
    }

    proptest! {
        /// Goal: no message of a server causes a panic or reveals a secret. Method: damaged messages with a secret in them.
        #[test]
        fn any_line_of_a_server_is_classified(line in mutated_text(proptest::sample::select(&[
            "READONLY You can't write, margaret, against a read only replica.",
            "WRONGPASS invalid pair margaret:hunter2",
            "ERR max number of clients reached by margaret with hunter2",
            "-hunter2",
        ][..]).prop_map(str::to_owned))) {
            let line = line.replace(['\r', '\n'], " ");
            let Ok(value) = parse_redis_value(format!("-{line}\r\n").as_bytes()) else { return Ok(()) };
            let Err(error) = value.extract_error() else { return Ok(()) };
            let text = classify(&error, &secrets(&["hunter2", "margaret"])).to_string();
            prop_assert!(!text.contains("hunter2") && !text.contains("margaret"), "{}", text);
            spoils_connection(&error);
        }
    }
}
