//! Tests of the writer, with destinations that are stuck, fail, or take a line in parts.

use std::{
    io::Write,
    sync::mpsc::{self, Receiver, Sender},
    time::Instant,
};

use super::*;

/// What is awaited comes by then, on the busiest machine.
const SOON: Duration = Duration::from_secs(20);

/// A destination that asks the test what becomes of each write.
struct Scripted {
    /// How many bytes the next write takes; `None` is an error.
    answers: Receiver<Option<usize>>,
    written: Sender<Vec<u8>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Ok(Some(most)) = self.answers.recv() else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        let taken = &bytes[..bytes.len().min(most)];
        self.written.send(taken.to_vec()).expect("the test goes on");
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer, and both ends of its destination.
struct Stage {
    writer: LineWriter,
    answers: Sender<Option<usize>>,
    written: Receiver<Vec<u8>>,
    counter: IntCounter,
}

impl Stage {
    fn new(after_loss: AfterLoss) -> Self {
        let (answers, asked) = mpsc::channel();
        let (sender, written) = mpsc::channel();
        let destination = Scripted { answers: asked, written: sender };
        let writer = LineWriter::start("test", destination, after_loss).unwrap();
        let counter = IntCounter::new("dropped", "Dropped lines.").unwrap();
        Self { writer, answers, written, counter }
    }

    fn push(&self, lines: &[&str]) {
        for line in lines {
            self.writer.push(line.as_bytes());
        }
    }

    /// What becomes of the next writes.
    fn answer(&self, answers: &[Option<usize>]) {
        for &answer in answers {
            self.answers.send(answer).unwrap();
        }
    }

    /// What was written, once nothing waits any more.
    fn flushed(&self) -> String {
        assert!(self.writer.flush(SOON), "all is written or dropped");
        let written: Vec<u8> = self.written.try_iter().flatten().collect();
        String::from_utf8(written).unwrap()
    }
}

const WHOLE: Option<usize> = Some(usize::MAX);

/// Goal: a stuck destination delays no caller, holds a limited number of bytes, and the dropped lines are counted, also
/// those from before there was a metric. Method: more lines than there is room for while the first is being written; a
/// flush that times out; then the destination continues.
#[test]
fn a_stuck_destination_delays_nobody() {
    let stage = Stage::new(|_| ());
    let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
    let room = QUEUED_BYTES_MAX / line.len();
    stage.writer.push(&line);
    while !stage.writer.shared.queue().is_writing {
        thread::yield_now();
    }
    for _ in 0..room + 3 {
        stage.writer.push(&line);
    }
    stage.writer.count_dropped_in(&stage.counter);
    assert_eq!(stage.counter.get(), 3);
    stage.writer.push(&line);
    assert_eq!(stage.counter.get(), 4);

    let started = Instant::now();
    assert!(!stage.writer.flush(Duration::from_millis(50)), "nothing has been written");
    assert!(started.elapsed() < SOON, "the wait has an end");
    stage.answer(&vec![WHOLE; room + 1]);
    assert_eq!(stage.flushed().len(), (room + 1) * line.len());
    assert_eq!(stage.counter.get(), 4, "what waited is not lost");
}

/// Goal: lines that cannot be written are counted, and later ones are written. Method: two errors, then none.
#[test]
fn failed_lines_are_counted() {
    let stage = Stage::new(|_| ());
    stage.writer.count_dropped_in(&stage.counter);
    stage.answer(&[None, None, WHOLE]);
    stage.push(&["one\n", "two\n", "three\n"]);
    assert_eq!(stage.flushed(), "three\n");
    assert_eq!(stage.counter.get(), 2);
}

/// Goal: a line that was written in part does not spoil others. Method: a line that fails half-way, then one that fails
/// again, and one that needs several writes.
#[test]
fn a_torn_line_ends_before_the_next() {
    let stage = Stage::new(|_| ());
    stage.writer.count_dropped_in(&stage.counter);
    stage.answer(&[Some(2), None, None, WHOLE, Some(1), WHOLE, WHOLE]);
    stage.push(&["one\n", "two\n", "three\n", "four\n"]);
    assert_eq!(stage.flushed(), "on\nthree\nfour\n");
    assert_eq!(stage.counter.get(), 2);
}

/// Goal: the log mentions dropped lines once lines are written again. Method: two lines that fail, and two that do not.
#[test]
fn a_gap_is_told() {
    static TOLD: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let stage = Stage::new(|lines| TOLD.lock().unwrap().push(lines));
    for answer in [None, None, WHOLE, WHOLE] {
        stage.answer(&[answer]);
        stage.writer.push(b"line\n");
        stage.flushed();
    }
    drop(stage.writer);
    // The thread has told all it had to when it gives its destination up.
    assert!(stage.written.recv_timeout(SOON).is_err());
    assert_eq!(*TOLD.lock().unwrap(), [2]);
}

/// Goal: lines that were pushed before the end are written. Method: drop the writer while they wait.
#[test]
fn the_end_writes_what_waits() {
    let stage = Stage::new(|_| ());
    stage.push(&["one\n", "two\n"]);
    stage.answer(&[WHOLE; 2]);
    drop(stage.writer);
    let written: Vec<u8> = stage.written.iter().flatten().collect();
    assert_eq!(written, b"one\ntwo\n");
}
