//! Tests of one visitor with servers that follow a script: every failure is reported with its reason, and unusual but
//! allowed messages are accepted.

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

/// A server's side of a websocket: after the upgrade it sends these pieces of bytes, then nothing.
#[derive(Clone, Debug)]
struct Script(Vec<Vec<u8>>);

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// The visitor waits for pings for so long that no busy machine makes a server silent.
const OPEN: &str =
    r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#;
/// The visitor does not wait long.
const OPEN_IMPATIENT: &str =
    r#"0{"sid":"a","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1}"#;

/// A text frame from a server.
fn text(message: &str) -> Vec<u8> {
    let length = u8::try_from(message.len()).unwrap();
    [&[0x81, length], message.as_bytes()].concat()
}

impl Script {
    fn new(messages: &[&str]) -> Self {
        let frames = messages.iter().map(|message| text(message));
        Self([SWITCH.as_bytes().to_vec()].into_iter().chain(frames).collect())
    }

    async fn play(&self, mut stream: TcpStream) {
        for piece in &self.0 {
            stream.write_all(piece).await.unwrap();
        }
        // Until the visitor closes the connection.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// How a visit to a server with this script ends, and the last count that the visitor received.
async fn visit(script: Script) -> (End, Option<u64>) {
    let slot = Arc::new(Slot::new(0, &[]));
    let end = visit_with(script, &slot).await;
    (end, slot.last_count())
}

/// How a visit to a server with this script ends, for the visitor of this slot.
async fn visit_with(script: Script, slot: &Arc<Slot>) -> End {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let play = async {
        let (stream, _) = listener.accept().await.unwrap();
        script.play(stream).await;
    };
    let url = format!("http://{address}");
    let visit = run(Transport::Websocket, &url, slot);
    let (end, ()) = tokio::join!(visit, play);
    end
}

async fn run(transport: Transport, url: &str, slot: &Arc<Slot>) -> End {
    let leaves = Arc::new(Semaphore::new(1));
    let plan = RoomPlan { prefix: "/r/".to_owned(), rooms: 10, per_connection: 2, skew: 0.0 };
    let rooms = Some(Arc::new(plan));
    let visit = Visit { transport, rooms, stats: Arc::new(Stats::new()), judge: None, leaves };
    let auth = Auth { visitor: Some("k".into()), ..Auth::default() };
    visit.run(Target::parse(url).unwrap(), auth, Arc::clone(slot)).await
}

/// Goal: a visitor that never gets a count is reported as refused, with the reason. Method: servers that fail at each step
/// of a connect.
#[rstest]
#[case::full("HTTP/1.1 503 Service Unavailable\r\n\r\n", &[], "status 503")]
#[case::not_http("220 mail.example ESMTP\r\n", &[], "unexpected: an answer other than of HTTP")]
#[case::not_upgraded("HTTP/1.1 101 OK\r\n\r\n", &[], "unexpected: an upgrade to something else")]
#[case::no_handshake(SWITCH, &["2"], "unexpected: a session without a handshake")]
#[case::refused(SWITCH, &[OPEN, r#"44{"message":"no"}"#], "unexpected: the namespace is refused")]
#[case::refused_with_code(SWITCH, &[OPEN, r#"44{"message":"no","data":{"code":"token_expired"}}"#],
    "refused: token_expired")]
#[case::sent_away(SWITCH, &[OPEN, "40{}", "41"], "disconnected by the server")]
#[case::closed(SWITCH, &[OPEN, "40{}", "1"], "closed by the server")]
#[case::other(SWITCH, &[OPEN, "40{}", r#"42["users",1]"#], "unexpected: an event other than the count")]
#[tokio::test]
async fn refusals_are_told_apart(
    #[case] head: &str,
    #[case] messages: &[&str],
    #[case] reason: &str,
) {
    let mut script = Script::new(messages);
    script.0[0] = head.as_bytes().to_vec();
    let (end, count) = visit(script).await;
    assert!(matches!(&end, End::Refused(failure) if failure.to_string() == reason), "{end:?}");
    assert_eq!(count, None);
}

/// Goal: a visitor that got a count and loses its connection is reported as lost, with the reason. Method: servers that end
/// the connection in every way, including silence.
#[rstest]
#[case::silent(OPEN_IMPATIENT, &text("2"), "silent for too long")]
#[case::close_packet(OPEN, &text("1"), "closed by the server")]
#[case::close_frame(OPEN, &[0x88, 0], "closed by the server")]
#[case::sent_away(OPEN, &text("41"), "disconnected by the server")]
#[case::rubbish(OPEN, &[0xff, 0], "unexpected: a frame other than of whole text")]
#[tokio::test]
async fn losses_are_told_apart(#[case] open: &str, #[case] last: &[u8], #[case] reason: &str) {
    let mut script = Script::new(&[open, "40{}", r#"42["user count",7]"#]);
    script.0.push(last.to_vec());
    let (end, count) = visit(script).await;
    assert!(matches!(&end, End::Lost(failure) if failure.to_string() == reason), "{end:?}");
    assert_eq!(count, Some(7));
}

/// Goal: messages may be cut and joined in any way, and the last count is kept. Method: all at once, and byte by byte,
/// with a ping frame between.
#[rstest]
#[case::at_once(usize::MAX)]
#[case::byte_by_byte(1)]
#[tokio::test]
async fn bytes_may_come_in_any_pieces(#[case] piece_bytes: usize) {
    let counts = ["2", r#"42["user count",7]"#, r#"42["user count",8]"#, "1"];
    let script = Script::new(&[&[OPEN, "40{}"][..], &counts].concat());
    let ping = vec![0x89, 2, b'h', b'i'];
    let all = [&script.0[..2], &[ping], &script.0[2..]].concat().concat();
    let pieces = all.chunks(piece_bytes.min(all.len())).map(<[u8]>::to_vec).collect();
    let (end, count) = visit(Script(pieces)).await;
    assert!(matches!(&end, End::Lost(Failure::Client(Error::Closed))), "{end:?}");
    assert_eq!(count, Some(8));
}

/// Goal: a visitor of rooms has joined when it has a count of the site and of each room, keeps the last one of each, and is refused
/// or lost with the reason otherwise. Method: servers that answer for the rooms 3 and 7 in every way.
#[rstest]
#[case::told(&["42/r/7,[\"user count\",1]", "42[\"user count\",5]", "42/r/3,[\"user count\",2]", "42/r/7,[\"user count\",4]"],
    "closed by the server", true, &[(3, 2), (7, 4)])]
#[case::one_is_missing(&["42[\"user count\",5]", "42/r/3,[\"user count\",2]"], "closed by the server", false, &[])]
#[case::refused(&["42[\"user count\",5]", "44/r/3,{\"message\":\"no\",\"data\":{\"code\":\"too_many_rooms\"}}"],
    "room refused: too_many_rooms", false, &[])]
#[case::sent_out(&["42[\"user count\",5]", "42/r/3,[\"user count\",2]", "42/r/7,[\"user count\",1]", "41/r/3,"],
    "unexpected: a packet of a room", true, &[(3, 2), (7, 1)])]
#[case::another_room(&["42/r/4,[\"user count\",2]"], "unexpected: a count of a room that was not joined", false, &[])]
#[case::no_room(&["42/x,[\"user count\",2]"], "unexpected: a count of a room that was not joined", false, &[])]
#[tokio::test]
async fn rooms_are_joined(
    #[case] messages: &[&str],
    #[case] reason: &str,
    #[case] joined: bool,
    #[case] counts: &[(u32, u64)],
) {
    let start = [OPEN, "40{\"sid\":\"a\"}", "40/r/3,{\"sid\":\"b\"}"];
    let script = Script::new(&[&start[..], messages, &["1"]].concat());
    let slot = Arc::new(Slot::new(0, &[3, 7]));
    let end = visit_with(script, &slot).await;
    let (found, failure) = match end {
        End::Lost(failure) => (true, failure),
        End::Refused(failure) => (false, failure),
        End::Left => unreachable!("nobody asked it to"),
    };
    assert_eq!((found, failure.to_string().as_str()), (joined, reason));
    assert_eq!(slot.room_counts().collect::<Vec<_>>(), counts);
    assert_eq!(slot.last_count().is_some(), joined);
}

/// Reads one request, and checks that it contains these words.
async fn request(stream: &mut TcpStream, words: &[&str]) {
    let mut request = String::new();
    while !request.contains("\r\n\r\n") {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(length > 0, "no request but {request:?}");
        request.push_str(str::from_utf8(&bytes[..length]).unwrap());
    }
    for word in words {
        assert!(request.contains(word), "no {word:?} in {request:?}");
    }
}

async fn answer(stream: &mut TcpStream, headers: &str, body: &str) {
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

/// Goal: polling works through balancers. The client returns their cookie with every request, and accepts a response
/// that is the last on its connection. Method: such a server, request by request, until the client leaves during a
/// poll, on another connection.
#[tokio::test]
async fn polling_bears_balancers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let slot = Arc::new(Slot::new(0, &[5]));
    let accept = async || listener.accept().await.unwrap().0;
    let serve = async {
        let mut first = accept().await;
        request(&mut first, &["GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n"]).await;
        answer(&mut first, "Set-Cookie: server=b; path=/\r\n", OPEN).await;
        let known = ["transport=polling&sid=a HTTP/1.1\r\n", "\r\nCookie: server=b\r\n"];
        request(
            &mut first,
            &[&known[..], &["POST", "\r\n\r\n40{\"visitor\":\"k\"}\x1e40/r/5,{\"visitor\":\"k\"}"]]
                .concat(),
        )
        .await;
        answer(&mut first, "Connection: close\r\n", "ok").await;
        let mut second = accept().await;
        request(&mut second, &known).await;
        let counts = "40{}\x1e42[\"user count\",3]\x1e42/r/5,[\"user count\",2]\x1e2";
        answer(&mut second, "", counts).await;
        request(&mut second, &["POST", "\r\n\r\n3"]).await;
        answer(&mut second, "", "ok").await;
        request(&mut second, &["GET"]).await;
        slot.ask_to_leave();
        let mut third = accept().await;
        request(&mut third, &[&known[..], &["POST", "\r\n\r\n41\x1e1"]].concat()).await;
        answer(&mut third, "", "ok").await;
    };
    let (end, ()) = tokio::join!(run(Transport::Polling, &url, &slot), serve);
    assert!(matches!(end, End::Left), "{end:?}");
    assert_eq!(slot.last_count(), Some(3));
    assert_eq!(slot.room_counts().collect::<Vec<_>>(), [(5, 2)]);
}
