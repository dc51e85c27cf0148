//! Printing to stdout and stderr, either of which may be closed, full, or stuck.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context;

/// Exit code for settings that are refused. clap uses it for unknown flags as well.
pub const BAD_SETTINGS: u8 = 2;
/// How long the end of the process waits for its last words to be read.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Prints a line to stdout. If the reader has closed it, it has read enough, so that is no error.
///
/// # Errors
/// If stdout cannot be written for another reason.
pub fn print_line(line: &dyn Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write to stdout")
        }
        _ => Ok(()),
    }
}

/// Prints the help or version that was asked for, or what is wrong with the arguments. Returns the exit code.
pub fn print_usage(usage: clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(BAD_SETTINGS));
    if usage.use_stderr() {
        print_within(LAST_WORDS_WITHIN, move || drop(usage.print()));
        return code;
    }
    match usage.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            print_error(format!("failed to write to stdout: {error}"));
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Prints an error to stderr. If stderr is closed, the exit code still tells it.
pub fn print_error(error: String) {
    print_within(LAST_WORDS_WITHIN, move || drop(writeln!(io::stderr(), "headcount: {error}")));
}

/// Prints in a thread, and waits for it at most `patience`: a reader may be stuck.
fn print_within(patience: Duration, print: impl FnOnce() + Send + 'static) {
    let (printed, done) = mpsc::sync_channel::<()>(0);
    // Dropping the sender after printing ends the wait.
    let print = move || {
        print();
        drop(printed);
    };
    if thread::Builder::new().spawn(print).is_ok() {
        let _ = done.recv_timeout(patience);
    }
}
