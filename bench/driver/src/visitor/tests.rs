//! Tests of a visitor, against servers that say what the test tells them.

use std::{net::TcpListener, thread};

use super::*;

const OPEN: &str = r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn text(packet: &str) -> Vec<u8> {
    [&[0x81, u8::try_from(packet.len()).unwrap()], packet.as_bytes()].concat()
}

fn response(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What a visitor received from a server that sends these pieces, one connection after the other, and waits
/// for a request before each. Both sides stop when all pieces are sent.
fn visit(way: Way, connections: Vec<Vec<Vec<u8>>>) -> (Visitor, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = thread::spawn(move || {
        let mut open = Vec::new(); // closing with unread bytes would reset the connection
        for pieces in connections {
            let (mut stream, _) = listener.accept().unwrap();
            for piece in pieces {
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0, "nothing is asked");
                // Byte by byte: unusual, but any network may do it.
                piece.iter().for_each(|byte| stream.write_all(&[*byte]).unwrap());
            }
            open.push(stream);
        }
        open
    });
    let mut visitor = Visitor::new(TcpStream::connect(address).unwrap(), way);
    visitor.request().unwrap();
    let mut sum = Heard::default();
    let mut buffer = [0; 1];
    while !sum.ended {
        let heard = visitor.read(&mut buffer).unwrap();
        sum.counts += heard.counts;
        sum.pings += heard.pings;
        sum.joined_after = sum.joined_after.or(heard.joined_after);
        sum.ended |= heard.ended;
        if heard.moves {
            visitor.move_to(TcpStream::connect(address).unwrap());
            visitor.request().unwrap();
        }
    }
    drop(serve.join().unwrap());
    (visitor, sum)
}

/// Goal: a visitor answers what must be answered, and receives all counts. Method: a server that sends the
/// next packet only after a request; a count, a ping, another count, the end.
#[test]
fn a_visitor_with_a_websocket_is_told() {
    let last = [text("42[\"user count\",8]"), vec![0x88, 0]].concat();
    let open = [SWITCH.as_bytes(), &text(OPEN)].concat();
    let told = [text("40{}"), text("42[\"user count\",7]"), text("2")].concat();
    let (visitor, heard) = visit(Way::Websocket, vec![vec![open, told, last]]);
    assert_eq!((visitor.last(), visitor.stage()), (Some(8), Stage::Told));
    assert_eq!((heard.counts, heard.pings), (2, 1));
    assert!(heard.joined_after.is_some());
}

/// Goal: a visitor that begins with polling upgrades to a websocket, and has joined only then. Method: a
/// server that sends the first count and a ping by polling, and expects one request for each step.
#[test]
fn a_visitor_goes_on_with_a_websocket() {
    let polled = "40{}\x1e42[\"user count\",7]\x1e2";
    let polling = vec![response(OPEN), response("ok"), response(polled)];
    let last = [text("42[\"user count\",8]"), vec![0x88, 0]].concat();
    let socket = vec![SWITCH.as_bytes().to_vec(), text("3probe"), last];
    let (visitor, heard) = visit(Way::Polling, vec![polling, socket]);
    assert_eq!((visitor.last(), visitor.stage()), (Some(8), Stage::Told));
    assert_eq!((heard.counts, heard.pings), (2, 1));
    assert!(heard.joined_after.is_some());
}

/// Goal: an answer that no server of the benchmark sends ends the visitor. Method: a refusal, and an event
/// that is no count.
#[test]
fn other_words_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusal = "HTTP/1.1 503 Busy\r\n\r\n".as_bytes().to_vec();
    let other = [SWITCH.as_bytes(), &text("42[\"users\",1]")].concat();
    for words in [refusal, other] {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut visitor = Visitor::new(stream, Way::Websocket);
        visitor.request().unwrap();
        listener.accept().unwrap().0.write_all(&words).unwrap();
        let mut buffer = [0; 1024];
        let end = std::iter::repeat_with(|| visitor.read(&mut buffer))
            .find(|read| !matches!(read, Ok(Heard { ended: false, .. })));
        assert!(end.unwrap().is_err());
    }
}
