//! Tests of the frames: against a reader of others, and against what Socket.IO itself writes.

use std::io::Cursor;

use http::Request;
use rstest::rstest;
use socketioxide::{SocketIo, extract::SocketRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Service;
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::*;

/// What a websocket library takes a frame for.
fn read(frame: &[u8]) -> (OpCode, &[u8]) {
    let mut cursor = Cursor::new(frame);
    let (header, length) = FrameHeader::parse(&mut cursor).unwrap().expect("a whole header");
    assert!(header.is_final && header.mask.is_none());
    let payload = &frame[usize::try_from(cursor.position()).unwrap()..];
    assert_eq!(payload.len() as u64, length);
    (header.opcode, payload)
}

/// Goal: counts of any size are encoded as clients expect. Method: the smallest and the largest counts, compared byte for
/// byte.
#[rstest]
#[case(0)]
#[case(7)]
#[case(1_000_000)]
#[case(u64::MAX)]
fn a_count_is_one_text_frame(#[case] users: u64) {
    let payload = format!("42[\"user count\",{users}]");
    assert_eq!(
        read(CountFrame::new(users).bytes()),
        (OpCode::Data(Data::Text), payload.as_bytes())
    );
}

/// Goal: frames of any length follow the standard. Method: lengths around the limits of the three length encodings, and the
/// control frames.
#[test]
fn frames_are_the_standards() {
    for length in [0, 125, 126, 65_535, 65_536] {
        let payload = "x".repeat(length);
        assert_eq!(read(&text(&payload)), (OpCode::Data(Data::Text), payload.as_bytes()));
    }
    assert_eq!(read(&pong(b"there?")), (OpCode::Control(Control::Pong), &b"there?"[..]));
    assert_eq!(read(&close(1000)), (OpCode::Control(Control::Close), &[3, 0xe8][..]));
}

/// Goal: the frames are byte for byte those of Socket.IO. Method: a real Socket.IO server in memory emits counts of all
/// lengths, and its stream is compared from the acknowledgement of the connect on.
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
    let (mut received, expected) =
        (Vec::new(), COUNTS.map(|users| CountFrame::new(users).bytes().to_vec()).concat());
    while !received.ends_with(&expected) {
        assert!(client.read_buf(&mut received).await.unwrap() > 0);
        assert!(received.len() < 1000, "{}", String::from_utf8_lossy(&received));
    }
    let before = &received[..received.len() - expected.len()];
    assert!(before.ends_with(b"\"}"), "the acknowledgement: {}", String::from_utf8_lossy(before));
}
