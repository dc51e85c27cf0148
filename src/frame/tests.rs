//! Tests of the frame and of the scan: against a reader of frames written for this, and against what Socket.IO
//! itself writes.

use http::Request;
use proptest::prelude::*;
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Service;

use super::*;

/// A frame as a server writes it, in the shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => vec![first, short],
        (_, Ok(middle)) => [&[first, 126][..], &middle.to_be_bytes()].concat(),
        _ => [&[first, 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    frame.extend(payload);
    frame
}

fn frames() -> Scan {
    let mut scan = Scan::default();
    scan.begin_frames();
    scan
}

/// Goal: the encoding is the one clients know, at any size. Method: small and largest counts, to the letter.
#[test]
fn a_count_is_one_text_frame() {
    for users in [0, 7, 1_000_000, u64::MAX] {
        let payload = format!("42[\"user count\",{users}]");
        assert!(payload.as_bytes().starts_with(COUNT_START));
        assert_eq!(CountFrame::new(users).bytes(), frame(TEXT, payload.as_bytes()));
    }
}

/// Goal: frames are looked for only after the head of the answer that begins the websocket. Method: an earlier
/// answer that holds an empty line, and a head, byte by byte.
#[test]
fn frames_begin_after_the_head() {
    let mut scan = Scan::default();
    scan.advance(b"HTTP/1.1 200 OK\r\n\r\nbody");
    scan.begin_websocket();
    let head =
        b"more\r\n\r\n body\rHTHTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\r\n\r\n";
    for byte in head {
        assert!(scan.is_http() && !scan.at_boundary());
        scan.advance(&[*byte]);
    }
    assert!(!scan.is_http() && scan.at_boundary());
    scan.begin_websocket();
    assert!(scan.at_boundary(), "what has begun does not begin again");
}

/// Goal: only whole counts count. Method: payloads that are nearly one.
#[test]
fn only_counts_are_counts() {
    let count = CountFrame::new(5);
    assert_eq!(frames().advance(count.bytes()), Passed { count: true, close: false });
    let others: [&[u8]; 5] = [b"2", b"", b"42[\"user counts\",5]", b"42[\"user count\"", b"40{}"];
    for payload in others {
        assert_eq!(frames().advance(&frame(TEXT, payload)), Passed::default());
        assert_eq!(frames().first_count(&frame(TEXT, payload)), None);
    }
    assert_eq!(frames().advance(&frame(0x82, &count.bytes()[2..])), Passed::default());
    assert_eq!(frames().advance(&count.bytes()[..19]), Passed::default());
    assert_eq!(frames().first_count(&count.bytes()[..19]), None);
    assert_eq!(frames().advance(&frame(0x88, b"")), Passed::default());
    assert_eq!(frames().advance(&frame(0x88, b"\x03\xe8")), Passed { count: false, close: true });
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<u64>().prop_map(|users| CountFrame::new(users).bytes().to_vec()),
        Just(frame(TEXT, b"2")),
        (prop_oneof![0usize..4, 120usize..130, 65_530usize..65_540], any::<u8>())
            .prop_map(|(length, byte)| frame(TEXT, &vec![byte; length])),
    ]
}

proptest! {
    /// Goal: boundaries and counts are found however the bytes are cut. Method: random frames in random pieces;
    /// after each piece the scan must agree with the lengths of the frames.
    #[test]
    fn boundaries_are_found_however_bytes_are_cut(
        list in proptest::collection::vec(any_frame(), 1..8),
        cuts in proptest::collection::vec(1usize..40_000, 1..40),
    ) {
        let bytes = list.concat();
        let ends: Vec<usize> = list.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
        let is_count = |index: usize| list[index][0] == TEXT && list[index][2..].starts_with(COUNT_START);
        let (mut scan, mut at) = (frames(), 0);
        for cut in cuts.iter().cycle() {
            let end = bytes.len().min(at + cut);
            let passed = scan.advance(&bytes[at..end]);
            let counts = (0..list.len()).any(|index| is_count(index) && (at + 1..=end).contains(&ends[index]));
            prop_assert_eq!(passed.count, counts);
            at = end;
            prop_assert_eq!(scan.at_boundary(), ends.contains(&at));
            let next = (0..list.len()).find(|&index| is_count(index) && ends[index] - list[index].len() >= at);
            let expected = next.map(|index| ends[index] - list[index].len() - at..ends[index] - at);
            prop_assert_eq!(scan.first_count(&bytes[at..]), expected);
            if at == bytes.len() {
                break;
            }
        }
    }
}

/// Goal: the direct way and Socket.IO's own write the same bytes. Method: a real Socket.IO server in memory emits
/// counts of all lengths, and its stream is compared to the byte, from the acknowledgement of the connect on.
#[tokio::test]
async fn socket_io_writes_the_same_bytes() {
    const COUNTS: [u64; 4] = [0, 42, 123_456_789, u64::MAX];
    let (mut service, io) = SocketIo::new_svc();
    io.ns("/", async |socket: SocketRef| {
        for users in COUNTS {
            socket.emit(USER_COUNT, &users).unwrap();
        }
    });
    let (mut client, server) = tokio::io::duplex(4096);
    let request = Request::get("/socket.io/?EIO=4&transport=websocket").body(()).unwrap();
    service.call((server, request)).await.unwrap();
    let connect = [TEXT, 0x80 | 2, 0, 0, 0, 0, b'4', b'0'];
    client.write_all(&connect).await.unwrap();
    let mut scan = frames();
    let (mut received, expected) =
        (Vec::new(), COUNTS.map(|users| CountFrame::new(users).bytes().to_vec()).concat());
    while !received.ends_with(&expected) {
        let mut byte = [0];
        client.read_exact(&mut byte).await.unwrap();
        scan.advance(&byte);
        received.push(byte[0]);
        assert!(received.len() < 1000, "{}", String::from_utf8_lossy(&received));
    }
    assert!(scan.at_boundary());
    let before = &received[..received.len() - expected.len()];
    assert!(before.ends_with(b"\"}"), "the acknowledgement: {}", String::from_utf8_lossy(before));
}

/// Goal: texts of any length have the frame of the standard. Method: the bounds between the three ways of giving the
/// length; the frame scan must find the end of each.
#[test]
fn texts_of_any_length() {
    for (length, header) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
        let frame = text(&"x".repeat(length));
        assert_eq!(frame.len(), header + length);
        let mut scan = Scan::default();
        scan.begin_frames();
        scan.advance(&frame[..frame.len() - 1]);
        assert!(length == 0 || !scan.at_boundary(), "{length}");
        scan.advance(&frame[frame.len() - 1..]);
        assert!(scan.at_boundary(), "{length}");
    }
}
