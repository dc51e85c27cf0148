//! What a check of the console has found, and how much that matters.

use std::fmt;

use serde::Serialize;

use crate::ops::runbook;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// An alert fires, or is about to.
    Alarm,
    /// Something is under way that ends by itself, or that somebody has begun.
    Notice,
    /// All is well.
    Fine,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alarm => "alarm",
            Self::Notice => "notice",
            Self::Fine => "fine",
        })
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) key: &'static str,
    pub(super) level: Level,
    /// The level, for who does not see colours.
    pub(super) mark: &'static str,
    pub(super) text: String,
    /// Where the runbook tells what to do; `None` if all is well, or it has nothing to tell.
    pub(super) runbook: Option<String>,
}

impl Check {
    /// An empty item, which the page's script copies.
    pub(super) fn blank() -> Self {
        Self { key: "", level: Level::Fine, mark: "", text: String::new(), runbook: None }
    }

    /// The condition with this key.
    pub(super) fn of(key: &'static str, Finding { level, text, alert }: Finding) -> Self {
        let mark = match level {
            Level::Alarm => "Alarm",
            Level::Notice => "Notice",
            Level::Fine => "Fine",
        };
        let runbook = runbook::section(alert).map(|_| format!("runbook/{alert}"));
        Self { key, level, mark, text, runbook }
    }
}

/// A condition that does not hold, or does: what is to be said of it.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) text: String,
    /// The alert that fires for it; empty if there is none.
    pub(super) alert: &'static str,
}

pub(super) fn fine(text: impl Into<String>) -> Finding {
    Finding { level: Level::Fine, text: text.into(), alert: "" }
}

pub(super) fn notice(alert: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Notice, text: text.into(), alert }
}

pub(super) fn alarm(alert: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Alarm, text: text.into(), alert }
}
