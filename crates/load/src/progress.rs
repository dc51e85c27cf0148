//! The progress of a run, on stderr: a bar on a terminal, otherwise a line every few seconds.
//!
//! A separate thread draws it. All visitors share one thread, and a paused terminal or an unread pipe must not keep
//! them from answering.

use std::{
    io::{self, IsTerminal, Write},
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// The time between two drawings of the bar: short enough to look alive.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// The time between two lines: long enough for a log, even in a container that runs for days.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How long the bar may take to be cleared before the report is printed over it.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Where progress is shown, and what was shown last.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Sends snapshots to the drawing thread. While it draws one, another may wait, and any further one is dropped.
    /// `None` if there is no such thread.
    snapshots: Option<SyncSender<Snapshot>>,
    /// Closed when everything is drawn.
    drawn: Receiver<()>,
    redraw_every: Duration,
    last: Option<(Phase, Instant)>,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Others are still online who must not be there.
    Waiting,
    Joining,
    Holding,
    Settling,
    Leaving,
}

/// What is shown at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    pub(crate) phase: Phase,
    /// The number of connected visitors, and the target number.
    pub(crate) connected: usize,
    pub(crate) goal: usize,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    /// The last count that one of the visitors received.
    pub(crate) last_count: Option<u64>,
    /// The rest of the hold.
    pub(crate) left: Option<Duration>,
}

impl Progress {
    /// Uses a bar if stderr is a terminal.
    pub(crate) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let (snapshots, shown) = mpsc::sync_channel(1);
        let (drawing, drawn) = mpsc::sync_channel(0);
        let draw = move || {
            draw(&shown, is_terminal.then(bar));
            drop(drawing);
        };
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(draw);
        Self {
            snapshots: thread.is_ok().then_some(snapshots),
            drawn,
            redraw_every: if is_terminal { REDRAW_EVERY } else { LINE_EVERY },
            last: None,
        }
    }

    /// Whether it is time to draw. A new phase is always drawn.
    pub(crate) fn is_due(&self, phase: Phase) -> bool {
        self.last.is_none_or(|(last, at)| last != phase || at.elapsed() >= self.redraw_every)
    }

    /// Shows a snapshot, unless the drawing thread is late.
    pub(crate) fn show(&mut self, snapshot: &Snapshot) {
        self.last = Some((snapshot.phase, Instant::now()));
        if let Some(snapshots) = &self.snapshots {
            // The snapshot is skipped if the last one is still being drawn.
            let _ = snapshots.try_send(*snapshot);
        }
    }

    /// Clears the bar before the report.
    pub(crate) fn end(self) {
        drop(self.snapshots);
        let _ = self.drawn.recv_timeout(END_WITHIN);
    }
}

fn bar() -> ProgressBar {
    let template = "{spinner} {elapsed_precise} [{bar:32}] {pos}/{len} {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    ProgressBar::no_length().with_style(style.progress_chars("=> "))
}

/// Draws all snapshots, until the end. Without a bar it writes lines.
fn draw(shown: &Receiver<Snapshot>, bar: Option<ProgressBar>) {
    for snapshot in shown {
        let Snapshot { connected, goal, .. } = snapshot;
        let text = snapshot.text();
        let Some(bar) = &bar else {
            // If stderr is closed, nobody reads it.
            let _ = writeln!(io::stderr(), "{connected} of {goal} connected, {text}");
            continue;
        };
        bar.set_length(goal as u64);
        bar.set_position(connected as u64);
        bar.set_message(text);
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

impl Snapshot {
    fn text(&self) -> String {
        let mut parts = vec![self.phase.name().to_owned()];
        if let Some(count) = self.last_count {
            parts.push(format!("count {count}"));
        }
        if self.refused > 0 {
            parts.push(format!("{} refused", self.refused));
        }
        if self.lost > 0 {
            parts.push(format!("{} lost", self.lost));
        }
        if let Some(left) = self.left {
            parts.push(format!("{} s left", left.as_secs()));
        }
        parts.join(", ")
    }
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting until nobody else is online (--alone)",
            Self::Joining => "joining",
            Self::Holding => "holding",
            Self::Settling => "waiting for the count to be right",
            Self::Leaving => "leaving",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a progress line contains what matters, and nothing else. Method: the shortest and the longest one.
    #[test]
    fn what_is_said() {
        let mut snapshot = Snapshot {
            phase: Phase::Joining,
            connected: 0,
            goal: 5,
            refused: 0,
            lost: 0,
            last_count: None,
            left: None,
        };
        assert_eq!(snapshot.text(), "joining");
        snapshot.phase = Phase::Holding;
        (snapshot.last_count, snapshot.refused, snapshot.lost) = (Some(7), 1, 2);
        snapshot.left = Some(Duration::from_millis(3999));
        assert_eq!(snapshot.text(), "holding, count 7, 1 refused, 2 lost, 3 s left");
    }
}
