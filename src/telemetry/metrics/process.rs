//! Metrics of the process: those of the library, but its time on processors with fractions of a second. The library gives whole
//! seconds, of which a rate over some scrapes is 0 most of the time and then a peak.

use prometheus::{
    core::{Collector, Desc},
    process_collector::ProcessCollector,
    proto::{Counter, MetricFamily},
};
use rustix::time::{ClockId, clock_gettime};

/// The metric that the library gives in whole seconds.
const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// The collector.
pub(super) struct Process {
    library: ProcessCollector,
}

impl Process {
    /// Of the calling process.
    pub(super) fn this() -> Self {
        Self { library: ProcessCollector::for_self() }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.library.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.library.collect();
        for family in families.iter_mut().filter(|family| family.name() == CPU_SECONDS) {
            for metric in family.mut_metric() {
                let mut counter = Counter::default();
                counter.set_value(cpu_seconds());
                metric.set_counter(counter);
            }
        }
        families
    }
}

/// What all threads of this process, also those that have ended, have spent on processors, in seconds: the kernel's
/// `CLOCK_PROCESS_CPUTIME_ID`, in nanoseconds. The ticks in `/proc/self/stat` are hundredths of a second.
fn cpu_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss, reason = "53 bits of nanoseconds are 104 days")]
    let [seconds, nanoseconds] = [spent.tv_sec as f64, spent.tv_nsec as f64];
    seconds + nanoseconds / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(process: &Process) -> f64 {
        let families = process.collect();
        let family = families.iter().find(|family| family.name() == CPU_SECONDS).unwrap();
        family.get_metric()[0].get_counter().get_value()
    }

    /// Goal: little work is seen, and as much as the kernel's other account says. Method: work for a hundredth of a second three times,
    /// of which whole seconds could show one; the ticks of the process before and after.
    #[test]
    fn little_work_is_seen() {
        let process = Process::this();
        let (before, start) = (ticked_seconds(), told(&process));
        let mut seen = start;
        for _ in 0..3 {
            while cpu_seconds() - seen < 0.01 {
                std::hint::black_box(cpu_seconds());
            }
            let now = told(&process);
            assert!(now - seen >= 0.01, "{seen} {now}");
            seen = now;
        }
        // Each account has its own rounding, and other tests run in this process.
        let after = ticked_seconds();
        assert!(start >= before - 0.1 && seen <= after + 0.1, "{before} {start} {seen} {after}");
    }

    /// User and system time in `/proc/self/stat`: ticks, of which Linux shows a hundred each second (proc(5), `USER_HZ`).
    fn ticked_seconds() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
    }

    /// Goal: the metrics keep their names. Method: those of the library.
    #[test]
    fn the_rest_is_the_librarys() {
        let names = |families: Vec<MetricFamily>| {
            families.iter().map(|family| family.name().to_owned()).collect::<Vec<_>>()
        };
        let process = Process::this();
        assert_eq!(names(process.collect()), names(process.library.collect()));
        assert_eq!(process.desc().len(), process.library.desc().len());
    }
}
