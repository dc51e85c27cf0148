//! The metric `headcount_build_info`, which names the version, the instance and its incarnation.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntGaugeVec;

/// The metric `headcount_build_info`.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    gauge: IntGaugeVec,
    store: String,
    host: String,
    /// The incarnation that the labels name now.
    named: Arc<Mutex<Option<String>>>,
}

impl BuildInfo {
    /// The labels that the metric must have.
    pub const LABELS: [&str; 4] = ["version", "store", "host", "incarnation"];

    /// The metric of an instance that is called by the name of its host. It has no series before [`BuildInfo::name`].
    pub fn new(gauge: IntGaugeVec, store: &str) -> Self {
        let named = Arc::default();
        Self { gauge, store: store.to_owned(), host: host_name(), named }
    }

    /// Sets the name of the instance. Clones that exist already keep the former name.
    pub fn set_host(&mut self, host: &str) {
        host.clone_into(&mut self.host);
    }

    /// Gives the metric the labels of this incarnation, and removes those of a former one: a process takes a new
    /// incarnation if another process turns out to have its id.
    pub fn name(&self, incarnation: &str) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.as_deref() == Some(incarnation) {
            return;
        }
        *named = Some(incarnation.to_owned());
        self.gauge.reset();
        let labels = [env!("CARGO_PKG_VERSION"), &self.store, &self.host, incarnation];
        self.gauge.with_label_values(&labels).set(1);
    }
}

/// The host's name as the system has it. In a container it is the container's short id, in a pod the pod's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use prometheus::{Opts, core::Collector, proto::LabelPair};

    use super::*;

    /// Goal: an instance has one incarnation at a time. Method: two incarnations of one process, one after the other; the
    /// metric names the later one alone, by the name that was set.
    #[test]
    fn the_metric_names_the_incarnation_of_now() {
        let info = IntGaugeVec::new(Opts::new("build_info", "help"), &BuildInfo::LABELS).unwrap();
        let mut build_info = BuildInfo::new(info.clone(), "embedded");
        build_info.set_host("kitchen-2");
        for incarnation in ["first", "second", "second"] {
            build_info.name(incarnation);
        }
        let families = info.collect();
        let series = families[0].get_metric();
        assert_eq!(series.len(), 1, "{series:?}");
        let labels: Vec<_> = series[0].get_label().iter().map(LabelPair::value).collect();
        assert!(labels.contains(&"kitchen-2") && labels.contains(&"second"), "{labels:?}");
    }

    /// Goal: an instance is called as its host is, unless it is given a name. Method: compare with what the kernel says.
    #[test]
    fn an_instance_is_called_as_its_host_is() {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(host_name(), kernel.trim_end());
    }
}
