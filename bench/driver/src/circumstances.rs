//! The machine, the time and the commit of a measurement, without which its figures mean nothing.

use std::{fs, process::Command};

use crate::results::Circumstances;

impl Circumstances {
    /// The circumstances now. Both load averages are that before measuring.
    pub fn now(quick: bool, rounds: u32) -> Self {
        let load = load();
        Self {
            machine: machine(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")),
            date: output("date", &["-u", "+%Y-%m-%d %H:%M"]) + " UTC",
            commit: output("git", &["describe", "--always", "--dirty"]),
            quick,
            rounds,
            load: (load, load),
        }
    }
}

/// The load average: processes that wanted to run, over the last minute.
pub fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or_default()
}

fn machine() -> String {
    let information = read("/proc/cpuinfo");
    let models = information.lines().filter_map(|line| line.strip_prefix("model name"));
    let models: Vec<&str> =
        models.map(|model| model.trim_start_matches([' ', '\t', ':'])).collect();
    let model = models.first().copied().unwrap_or("an unknown processor");
    format!("{} cores of {model}", models.len())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}
