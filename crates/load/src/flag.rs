//! One raw flag and how it is read: the value, or a refusal that says what is allowed.

use std::{fmt::Display, str::FromStr, time::Duration};

/// A flag that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{flag} is {value:?}, but must be {allowed}")]
pub struct FlagError {
    pub(crate) flag: &'static str,
    pub(crate) value: String,
    pub(crate) allowed: String,
}

/// A flag's name and its raw value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag<'a>(pub(crate) &'static str, pub(crate) &'a str);

impl Flag<'_> {
    pub(crate) fn refuse(&self, allowed: impl Into<String>) -> FlagError {
        FlagError { flag: self.0, value: self.1.to_owned(), allowed: allowed.into() }
    }

    /// A number within these bounds; `kind` says of which kind.
    pub(crate) fn number<T: Copy + FromStr + PartialOrd + Display>(
        &self,
        kind: &str,
        least: T,
        most: T,
    ) -> Result<T, FlagError> {
        let allowed = format!("{kind} from {least} to {most}");
        let value = self.1.parse().ok().filter(|value| (&least..=&most).contains(&value));
        value.ok_or_else(|| self.refuse(allowed))
    }

    pub(crate) fn duration(&self, least: Duration, most: Duration) -> Result<Duration, FlagError> {
        let value = humantime::parse_duration(self.1).ok();
        value.filter(|value| (least..=most).contains(value)).ok_or_else(|| {
            let [from, to] = [least, most].map(humantime::format_duration);
            self.refuse(format!("a duration from {from} to {to}, such as 500ms, 2s or 1min"))
        })
    }
}
