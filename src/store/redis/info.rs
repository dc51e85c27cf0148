//! Parses the answer to `INFO` strictly: bounded, and everything unexpected is an error.

use std::{collections::HashMap, time::Duration};

use deadpool_redis::redis::Value;

use super::reply::{decimal, unexpected};
use crate::{
    core::count::WHOLE_MAX,
    store::{
        StoreError,
        facts::{StoreFacts, StoreRole},
    },
    telemetry::escaped::Escaped,
};

/// The sections of `INFO` that are asked for.
pub(super) const SECTIONS: [&str; 3] = ["server", "memory", "replication"];
/// The longest answer that is read. Redis and Valkey answer with 3 to 5 kB.
const INFO_BYTES_MAX: usize = 64 * 1024;
/// The longest version. Those of releases have 6 characters.
const VERSION_CHARS_MAX: usize = 32;

/// Parses the answer to `INFO` with these [`SECTIONS`].
pub(super) fn facts(value: &Value) -> Result<StoreFacts, StoreError> {
    let text = match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::VerbatimString { text, .. } => Some(text.as_str()),
        _ => None,
    };
    let text = text.filter(|text| text.len() <= INFO_BYTES_MAX);
    let fields: HashMap<&str, &str> = text
        .ok_or_else(|| unexpected("description of the server that is no text, or too long"))?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let role = match field(&fields, "role")? {
        "master" => StoreRole::Primary(whole(&fields, "connected_slaves")?),
        "slave" => StoreRole::Replica,
        _ => return Err(unexpected("server with an unknown role")),
    };
    Ok(StoreFacts {
        program: program(&fields)?,
        role,
        up: Duration::from_secs(whole(&fields, "uptime_in_seconds")?),
        memory_used: whole(&fields, "used_memory")?,
        memory_max: Some(whole(&fields, "maxmemory")?).filter(|&bytes| bytes > 0),
    })
}

/// Valkey names itself, and the version of Redis that it is compatible with beside it.
fn program(fields: &HashMap<&str, &str>) -> Result<Escaped, StoreError> {
    let (name, version) = match fields.get("valkey_version") {
        Some(version) => ("Valkey", *version),
        None => ("Redis", field(fields, "redis_version")?),
    };
    if version.is_empty() || version.chars().count() > VERSION_CHARS_MAX {
        return Err(unexpected("version that is empty or too long"));
    }
    Ok(Escaped::new(&format!("{name} {version}")))
}

fn field<'a>(fields: &HashMap<&str, &'a str>, name: &str) -> Result<&'a str, StoreError> {
    fields.get(name).copied().ok_or_else(|| unexpected(&format!("description without {name}")))
}

fn whole(fields: &HashMap<&str, &str>, name: &str) -> Result<u64, StoreError> {
    decimal(field(fields, name)?.as_bytes())
        .filter(|&number| number <= WHOLE_MAX)
        .ok_or_else(|| unexpected(&format!("description with another {name} than a number")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::fixtures::mutate::mutated_text;

    const REDIS: &str = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:90\r\n\r\n# Memory\r\n\
        used_memory:1048576\r\nmaxmemory:0\r\n\r\n# Replication\r\nrole:master\r\nconnected_slaves:2\r\n";
    const VALKEY: &str = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n\
        uptime_in_seconds:1\r\nused_memory:5\r\nmaxmemory:10\r\nrole:slave\r\nmaster_host:10.0.0.1\r\n";

    fn parsed(text: &str) -> Result<StoreFacts, StoreError> {
        facts(&Value::BulkString(text.as_bytes().to_vec()))
    }

    /// Goal: what Redis and Valkey say is understood. Method: what they say, in both forms that a reply may have.
    #[test]
    fn servers_are_understood() {
        let expected = StoreFacts {
            program: "Redis 7.0.15".to_owned().into(),
            role: StoreRole::Primary(2),
            up: Duration::from_secs(90),
            memory_used: 1_048_576,
            memory_max: None,
        };
        assert_eq!(parsed(REDIS).unwrap(), expected);
        let format = deadpool_redis::redis::VerbatimFormat::Text;
        let verbatim = Value::VerbatimString { format, text: REDIS.to_owned() };
        assert_eq!(facts(&verbatim).unwrap(), expected);
        let valkey = parsed(VALKEY).unwrap();
        assert_eq!(valkey.program.as_str(), "Valkey 9.1.2");
        assert_eq!((valkey.role, valkey.memory_max), (StoreRole::Replica, Some(10)));
    }

    /// Goal: text of a server is shown as text. Method: a version with a line break and an escape sequence in it.
    #[test]
    fn text_is_escaped() {
        let odd = REDIS.replace("7.0.15", "7\u{1b}[31m\u{202e}");
        assert_eq!(parsed(&odd).unwrap().program.as_str(), r"Redis 7\u{1b}[31m\u{202e}");
    }

    /// Goal: everything unexpected is an error. Method: each field changed or missing, too much text, and no text.
    #[rstest]
    #[case::role("role:master", "role:king")]
    #[case::no_role("role:master", "rule:master")]
    #[case::negative("maxmemory:0", "maxmemory:-1")]
    #[case::huge("used_memory:1048576", "used_memory:99999999999999999")]
    #[case::no_number("uptime_in_seconds:90", "uptime_in_seconds:+90")]
    #[case::no_replicas("connected_slaves:2", "connected_slaves:")]
    #[case::no_version("redis_version:7.0.15", "redis_version:")]
    #[case::long_version("7.0.15", "7.0.15-and-a-word-or-two-of-no-interest")]
    fn odd_descriptions_are_errors(#[case] from: &str, #[case] to: &str) {
        assert!(REDIS.contains(from));
        let error = parsed(&REDIS.replace(from, to)).unwrap_err();
        assert!(matches!(error, StoreError::Protocol(_)), "{error}");
    }

    /// Goal: an answer has a length. Method: the longest, one longer, and other values than text.
    #[test]
    fn answers_are_bounded() {
        let longest = format!("{REDIS}{}", "x".repeat(INFO_BYTES_MAX - REDIS.len()));
        assert!(parsed(&longest).is_ok());
        assert!(parsed(&format!("{longest}x")).is_err());
        assert!(facts(&Value::Nil).is_err() && facts(&Value::Int(1)).is_err());
        assert!(facts(&Value::BulkString(vec![0xff])).is_err());
    }

    proptest! {
        /// Goal: no answer ends the program. Method: good ones, mutated.
        #[test]
        fn any_answer_is_read(text in mutated_text(proptest::sample::select(&[REDIS, VALKEY][..]).prop_map(str::to_owned))) {
            let _ = parsed(&text);
        }
    }
}
