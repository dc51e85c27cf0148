//! Makes metrics with their help texts, and registers them.

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::help::HELP;
use crate::telemetry::build_info::BuildInfo;

/// Makes metrics and registers them.
#[derive(Default)]
pub(super) struct Maker {
    pub(super) registry: Registry,
}

impl Maker {
    pub(super) fn build_info(&self, store: &str) -> Result<BuildInfo, prometheus::Error> {
        let build_info = IntGaugeVec::new(options("build_info"), &BuildInfo::LABELS)?;
        Ok(BuildInfo::new(self.add(build_info)?, store))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn process(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(super::process::Process::this()))
    }

    #[cfg(not(target_os = "linux"))]
    #[allow(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the same face on every system"
    )]
    pub(super) fn process(&self) -> Result<(), prometheus::Error> {
        Ok(())
    }

    pub(super) fn gauge(&self, name: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::with_opts(options(name))?)
    }

    pub(super) fn float_gauge(&self, name: &str) -> Result<Gauge, prometheus::Error> {
        self.add(Gauge::with_opts(options(name))?)
    }

    pub(super) fn counter(&self, name: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::with_opts(options(name))?)
    }

    /// Gauges that are not set at every scrape start at 0 for these values of their label. Otherwise a panel would have no data
    /// until the first of them is used.
    pub(super) fn gauges(
        &self,
        name: &str,
        label: &str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let gauges = self.add(IntGaugeVec::new(options(name), &[label])?)?;
        for value in values {
            gauges.with_label_values(&[value]);
        }
        Ok(gauges)
    }

    /// Every counter starts at 0 for each value of its label. If a series appeared with its first event, it would show no
    /// increase, and alerts would miss that event.
    pub(super) fn counters(
        &self,
        name: &str,
        label: &str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Result<IntCounterVec, prometheus::Error> {
        let counters = self.add(IntCounterVec::new(options(name), &[label])?)?;
        for value in values {
            counters.with_label_values(&[value]);
        }
        Ok(counters)
    }

    pub(super) fn histogram(
        &self,
        name: &str,
        buckets: &[f64],
    ) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::from(options(name)).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options)?)
    }

    fn add<C>(&self, collector: C) -> Result<C, prometheus::Error>
    where
        C: prometheus::core::Collector + Clone + 'static,
    {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }
}

fn options(name: &str) -> Opts {
    let help = HELP.iter().find(|(described, _)| *described == name).map_or("", |(_, help)| help);
    Opts::new(name, help).namespace("headcount")
}
