//! Processes of the benchmark: starts them, reads their cost from /proc, and ends them by their id. This
//! module never touches other processes.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The ids of all running processes, so that a signal to the benchmark can end them.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A process that ends when this value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// User and system time of all threads that are alive, in nanoseconds.
    pub total: Duration,
}

impl Process {
    /// Starts it; its stderr is shown.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn start(command: &mut Command, name: &str) -> Result<Self> {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("failed to start {name}"))?;
        running().push(child.id());
        Ok(Self { child, name: name.to_owned() })
    }

    /// Its standard output; only the first caller gets it.
    pub fn take_output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// If it has.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself: {status}", self.name);
        }
        Ok(())
    }

    /// What it has used.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu(&self) -> Result<Cpu> {
        cpu_of(self.child.id()).with_context(|| format!("failed to read the time of {}", self.name))
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .with_context(|| format!("failed to read the memory of {}", self.name))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kilobytes.context("no line VmRSS")? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The measurement is over; nothing is lost by ending it at once.
        drop(self.child.kill());
        drop(self.child.wait());
        running().retain(|id| *id != self.child.id());
    }
}

/// What this process has used.
///
/// # Errors
/// If /proc cannot be read.
pub fn own_cpu() -> Result<Cpu> {
    cpu_of(std::process::id())
}

/// Ends all processes that were started, then this one; for signals.
pub fn end_everything() -> ! {
    for id in running().iter() {
        let pid = i32::try_from(*id).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended already.
            kill_process(pid, Signal::KILL).ok();
        }
    }
    std::process::exit(130)
}

fn running() -> std::sync::MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The scheduler's own account is used, since `/proc/PID/stat` counts in steps of 10 ms.
fn cpu_of(id: u32) -> Result<Cpu> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        // A thread may end between listing and reading.
        let Ok(account) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let running = account.split_whitespace().next().context("an empty account")?;
        nanoseconds += running.parse::<u64>()?;
    }
    Ok(Cpu { total: Duration::from_nanos(nanoseconds) })
}
