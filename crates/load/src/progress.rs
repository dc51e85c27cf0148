//! What is seen while it runs, on stderr: a bar on a terminal, else a line now and then.
//!
//! It is drawn by a thread of its own: all visitors share one thread, and a terminal that is paused, or a pipe that
//! nobody reads, must not keep them from answering.

use std::{
    io::{self, IsTerminal, Write},
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Often enough to look alive.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// Few enough lines for a log, also in a container that runs for days.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How long the bar may take to be cleared before the report is printed over it.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Where progress is shown, and what was shown last.
#[derive(Debug)]
pub(super) struct Progress {
    /// To the thread that draws. One waits while another is drawn, and what comes then is skipped. `None` if there is no
    /// such thread.
    sights: Option<SyncSender<Sight>>,
    /// Closed when all is drawn.
    drawn: Receiver<()>,
    redraw_every: Duration,
    last: Option<(Phase, Instant)>,
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Joining,
    Holding,
    Settling,
    Leaving,
}

/// How far things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) phase: Phase,
    /// Visitors that are connected, and those that should be.
    pub(super) connected: usize,
    pub(super) goal: usize,
    pub(super) refused: u64,
    pub(super) lost: u64,
    /// What a visitor was told last.
    pub(super) told: Option<u64>,
    /// What is left of the hold.
    pub(super) left: Option<Duration>,
}

impl Progress {
    /// A bar if stderr is a terminal.
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        let (sights, shown) = mpsc::sync_channel(1);
        let (drawing, drawn) = mpsc::sync_channel(0);
        let draw = move || {
            draw(&shown, is_terminal.then(bar));
            drop(drawing);
        };
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(draw);
        Self {
            sights: thread.is_ok().then_some(sights),
            drawn,
            redraw_every: if is_terminal { REDRAW_EVERY } else { LINE_EVERY },
            last: None,
        }
    }

    /// Whether it is time to show something: a new phase always is.
    pub(super) fn is_due(&self, phase: Phase) -> bool {
        self.last.is_none_or(|(last, at)| last != phase || at.elapsed() >= self.redraw_every)
    }

    /// Shows this, if the last that was shown has been drawn.
    pub(super) fn show(&mut self, sight: &Sight) {
        self.last = Some((sight.phase, Instant::now()));
        if let Some(sights) = &self.sights {
            // It is skipped if the last one is still being drawn.
            let _ = sights.try_send(*sight);
        }
    }

    /// Makes room for the report.
    pub(super) fn end(self) {
        drop(self.sights);
        let _ = self.drawn.recv_timeout(END_WITHIN);
    }
}

fn bar() -> ProgressBar {
    let template = "{spinner} {elapsed_precise} [{bar:32}] {pos}/{len} {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    ProgressBar::no_length().with_style(style.progress_chars("=> "))
}

/// Draws what is shown, until the end. Without a bar it writes lines.
fn draw(shown: &Receiver<Sight>, bar: Option<ProgressBar>) {
    for sight in shown {
        let Sight { connected, goal, .. } = sight;
        let text = sight.text();
        let Some(bar) = &bar else {
            // If stderr is closed nobody wants to see it.
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

impl Sight {
    fn text(&self) -> String {
        let mut parts = vec![self.phase.name().to_owned()];
        if let Some(told) = self.told {
            parts.push(format!("count {told}"));
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

    /// Goal: a line says what matters and no more. Method: the least and the most there is to say.
    #[test]
    fn what_is_said() {
        let mut sight = Sight {
            phase: Phase::Joining,
            connected: 0,
            goal: 5,
            refused: 0,
            lost: 0,
            told: None,
            left: None,
        };
        assert_eq!(sight.text(), "joining");
        sight.phase = Phase::Holding;
        (sight.told, sight.refused, sight.lost) = (Some(7), 1, 2);
        sight.left = Some(Duration::from_millis(3999));
        assert_eq!(sight.text(), "holding, count 7, 1 refused, 2 lost, 3 s left");
    }
}
