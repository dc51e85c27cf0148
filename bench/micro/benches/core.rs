//! Times of the pure parts that run for every join, report, announcement or message. The measured code reads
//! no clock and does no I/O.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use headcount::{
    access::{origin::Origins, rate_limit::TokenBucket},
    core::{
        count::{Count, Incarnation, Revision, Sequence},
        pace::{EmissionPace, Feedback, ReportPace},
        report::{LEASE_MAX, Reply},
        site_users::SiteUsers,
        tally::{Change, Local, Tally},
        view::{SentReport, View},
    },
    protocol::{
        decoder::{FrameDecoder, Incoming, ProtocolError},
        frame::{self, CountFrame},
        head::{Head, PlainHeaders},
        packet::Packet,
        payload::{Part, PayloadDecoder},
    },
};
use http::{HeaderMap, HeaderValue, header};
use tokio::time::Instant;

criterion_group!(pure_parts, tally, view, pace, edge, wire);
criterion_main!(pure_parts);

fn tally(criterion: &mut Criterion) {
    let (tally, now) = (Tally::new(), Instant::now());
    let _others: Vec<_> = (0..1000).map(|_| tally.join((), now)).collect();
    criterion.bench_function("tally: join and leave", |bencher| {
        bencher.iter(|| {
            drop(tally.join((), now));
            // The broadcaster takes new members out, or their queue would grow without end.
            tally.take_newcomers(Change(u64::MAX), Change::default(), now)
        });
    });
}

fn view(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut view = View::default();
    view.begin_incarnation(Incarnation::random(), LEASE_MAX);
    let mut number = 0;
    criterion.bench_function("view: observe, report, fold the reply, show", |bencher| {
        bencher.iter(|| {
            number += 1;
            let local = Local {
                anonymous: number % 1000,
                connections: number % 1000,
                change: Change(number),
            };
            view.observe(local);
            view.report_sent(Sequence(number));
            view.report_ended();
            let sent =
                SentReport { sequence: Sequence(number), local, is_site_told: true, at: now };
            view.fold_reply(sent, black_box(&reply(number)), SiteUsers::default(), now);
            view.shown(now)
        });
    });
    criterion.bench_function("view: fold an announcement, show", |bencher| {
        bencher.iter(|| {
            number += 1;
            view.fold(black_box(count(number)), now);
            view.shown(now)
        });
    });
    let text = serde_json::to_vec(&count(12)).expect("a count is JSON");
    criterion.bench_function("count: read an announcement", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Count>(black_box(&text)));
    });
}

fn pace(criterion: &mut Criterion) {
    let start = Instant::now();
    let mut pace = ReportPace::new(Duration::from_millis(500), start);
    let answer = Feedback { instances: 3, unannounced: true, more_to_reap: false };
    let mut number = 0;
    criterion.bench_function("pace: due, sent, answered", |bencher| {
        bencher.iter(|| {
            number += 1;
            let now = start + Duration::from_millis(number);
            let due = pace.due(black_box(Change(number)));
            pace.sent(Change(number), now);
            pace.answered(now, answer, now);
            due
        });
    });
    let mut emissions = EmissionPace::new(Duration::from_millis(50));
    criterion.bench_function("pace: an emission", |bencher| {
        bencher.iter(|| {
            emissions.emitted(black_box(start), start + Duration::from_millis(1));
            emissions.due()
        });
    });
}

fn edge(criterion: &mut Criterion) {
    let now = Instant::now();
    let mut bucket = TokenBucket::new(64 * 1024, 4096, now);
    criterion.bench_function("rate: one message", |bencher| {
        bencher.iter(|| bucket.spend(black_box(6), now));
    });
    let origins = Origins::parse("https://a.example,https://b.example").expect("they are origins");
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("count.example"));
    headers.insert(header::ORIGIN, HeaderValue::from_static("https://b.example"));
    criterion.bench_function("origin: one handshake", |bencher| {
        bencher.iter(|| origins.allow_headers(black_box(&headers)));
    });
}

fn wire(criterion: &mut Criterion) {
    let head = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: count.example\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://b.example\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    criterion.bench_function("head: read a plain one", |bencher| {
        bencher.iter(|| Head::parse_plain(black_box(head), &mut PlainHeaders::default()).is_some());
    });
    let mut number = 0;
    criterion.bench_function("frame: encode a count", |bencher| {
        bencher.iter(|| {
            number += 1;
            CountFrame::new(black_box(number))
        });
    });
    let id = "AAAAAAAAAAAAAAAAAAAA";
    criterion.bench_function("frame: encode an acknowledgement", |bencher| {
        bencher.iter(|| frame::text(&format!("40{{\"sid\":\"{id}\"}}")));
    });
    let mut decoder = FrameDecoder::new(16 * 1024);
    criterion.bench_function("decoder: read a pong and what it means", |bencher| {
        bencher.iter(|| {
            let mut meaning = None;
            let mut frame = black_box([0x81, 0x81, 1, 2, 3, 4, b'3' ^ 1]);
            let read = decoder.read(&mut frame, |incoming| {
                if let Incoming::Text(message) = incoming {
                    meaning = Some(Packet::parse(message) == Some(Packet::Pong));
                }
                Ok::<(), ProtocolError>(())
            });
            (read, meaning)
        });
    });
    criterion.bench_function("payload: read a join and what it means", |bencher| {
        bencher.iter(|| {
            let (mut decoder, mut joins) = (PayloadDecoder::new(16 * 1024), 0);
            let mut receive = |part: Part<'_>| {
                if let Part::Text(message) = part {
                    joins +=
                        u32::from(matches!(Packet::parse(message), Some(Packet::Connect { .. })));
                }
                Ok::<(), ProtocolError>(())
            };
            let read = decoder.read(black_box(b"40"), &mut receive);
            (read.and_then(|()| decoder.finish(&mut receive)), joins)
        });
    });
}

fn count(number: u64) -> Count {
    Count {
        users: number % 100_000,
        revision: Revision(number),
        recovering: false,
        ..Count::default()
    }
}

fn reply(number: u64) -> Reply {
    Reply {
        outcome: headcount::core::report::Outcome::Applied,
        count: count(number),
        announced: Revision(number),
        instances: 3,
        stored_sequence: Sequence(number - 1),
        ..Reply::default()
    }
}
