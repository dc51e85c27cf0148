//! The name under which people know an instance: what is set, or else the name of its host.

use super::{ConfigError, setting::Setting};

/// The name that is set, if it is allowed; the host's name if none is set.
pub(super) fn instance_name(set: Option<&str>) -> Result<String, ConfigError> {
    let Some(name) = set else { return Ok(host_name()) };
    Setting("HEADCOUNT_INSTANCE_NAME", name).name()?;
    Ok(name.to_owned())
}

/// The host's name as the system has it. In a container that is the container's short id, in a pod the pod's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an instance has a name, and it is the one that people gave. Method: with a name, without one, and with one
    /// that could not be read in a list.
    #[test]
    fn an_instance_is_named() {
        assert_eq!(instance_name(Some("kitchen-2")).unwrap(), "kitchen-2");
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(instance_name(None).unwrap(), own.trim_end());
        let refused = instance_name(Some("two\nlines")).unwrap_err().to_string();
        assert!(refused.starts_with("HEADCOUNT_INSTANCE_NAME"), "{refused}");
    }
}
