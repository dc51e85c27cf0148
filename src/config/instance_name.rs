//! The name of an instance: the setting, or else the name of its host.

use super::setting::{ConfigError, Setting};
use crate::{
    core::about::HOST_CHARS_MAX,
    telemetry::{
        build_info::host_name,
        escaped::{Escaped, is_plain},
    },
};

/// Checks the setting; returns the host's name if it is not set.
pub(super) fn instance_name(set: Option<&str>) -> Result<String, ConfigError> {
    let Some(name) = set else { return Ok(shown(&host_name())) };
    let setting = Setting("HEADCOUNT_INSTANCE_NAME", name);
    let fits = (1..=HOST_CHARS_MAX).contains(&name.chars().count());
    if fits && is_plain(name) && name.trim() == name {
        return Ok(name.to_owned());
    }
    let allowed = format!(
        "1 to {HOST_CHARS_MAX} characters without control characters, invisible ones, or spaces at either end"
    );
    Err(setting.refuse(allowed))
}

/// Makes the name of a host safe to show, since it can be any text.
fn shown(name: &str) -> String {
    let shown: String = Escaped::new(name.trim()).as_str().chars().take(HOST_CHARS_MAX).collect();
    if shown.is_empty() { "unnamed".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Goal: an instance has a name, and it is the one that people gave. Method: with a name, without one, and with the
    /// longest.
    #[test]
    fn an_instance_is_named() {
        for name in ["kitchen-2", "caf\u{e9} no. 3", &"\u{7528}".repeat(HOST_CHARS_MAX)] {
            assert_eq!(instance_name(Some(name)).unwrap(), name);
        }
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(instance_name(None).unwrap(), shown(own.trim_end()));
    }

    /// Goal: a name can be read in a list. Method: names that could not, each refused by the name of the variable.
    #[rstest]
    #[case("")]
    #[case("two\nlines")]
    #[case(" web")]
    #[case("we\u{200b}b")]
    #[case(&"w".repeat(HOST_CHARS_MAX + 1))]
    fn odd_names_are_refused(#[case] name: &str) {
        let refused = instance_name(Some(name)).unwrap_err().to_string();
        assert!(refused.starts_with("HEADCOUNT_INSTANCE_NAME is "), "{refused}");
        assert!(refused.contains("1 to 63 characters"), "{refused}");
    }

    /// Goal: whatever the host is called, its name can be shown. Method: names as systems should not have them.
    #[rstest]
    #[case("", "unnamed")]
    #[case("web-1\n", "web-1")]
    #[case("\u{1b}[2J", "\\u{1b}[2J")]
    #[case(&"w".repeat(64), &"w".repeat(63))]
    fn host_names_are_shown(#[case] name: &str, #[case] expected: &str) {
        assert_eq!(shown(name), expected);
        assert_eq!(instance_name(Some(expected)).unwrap(), expected);
    }
}
