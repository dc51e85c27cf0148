//! Tests of which sockets are counted, with an application's server and clients that poll it. The member has an
//! embedded store.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use ::socketioxide::socket::Sid;
use axum::Router;
use http::Request;
use http_body_util::BodyExt;
use rstest::rstest;
use tokio::time::{Duration, Instant, sleep, timeout};
use tower::ServiceExt;

use super::*;
use crate::{MemberSettings, fixtures::turns::OthersFirst};

const PATH: &str = "/socket.io/?EIO=4&transport=polling";
/// Everything that happens at all has happened by then, even on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time until the emitter checks the sockets by itself, if all disconnect handlers belong to headcount.
const BEFORE_THE_NEXT_LOOK: Duration = Duration::from_millis(500);

/// An application with a member.
struct Application {
    router: Router,
    io: SocketIo,
    member: Member,
}

impl Application {
    async fn new() -> Self {
        let member = Member::join(MemberSettings::default()).await.unwrap();
        let (layer, io) = SocketIo::new_layer();
        Self { router: Router::new().layer(layer), io, member }
    }

    fn counter(&self) -> Counter {
        counter(&self.io, "/", &self.member).unwrap()
    }

    /// A client opens a session; it has not joined yet.
    async fn session(&self) -> String {
        let opening = self.request(Request::get(PATH).body(String::new())).await;
        opening.split('"').nth(3).expect("the session comes first").to_owned()
    }

    async fn post(&self, session: &str, packet: &str) {
        let path = format!("{PATH}&sid={session}");
        self.request(Request::post(path).body(packet.to_owned())).await;
    }

    async fn joined(&self) -> String {
        let session = self.session().await;
        self.post(&session, "40").await;
        session
    }

    /// Polls until it was told this count, for the first time.
    async fn hears(&self, session: &str, users: u64) {
        let wanted = format!("42[\"user count\",{users}]");
        let heard = async {
            loop {
                let path = format!("{PATH}&sid={session}");
                let payload = self.request(Request::get(path).body(String::new())).await;
                if payload.split('\x1e').any(|packet| packet == wanted) {
                    return;
                }
            }
        };
        timeout(PATIENCE, heard).await.expect("it is told the count");
    }

    async fn request(&self, request: http::Result<Request<String>>) -> String {
        let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.into()).unwrap()
    }

    fn socket(&self, session: &str) -> SocketRef {
        self.io.get_socket(session.parse::<Sid>().unwrap()).expect("it is connected")
    }

    /// Waits for a count, and says how long that took.
    async fn counts(&self, users: u64) -> Duration {
        let start = Instant::now();
        let mut counts = self.member.subscribe();
        let counted =
            async { while counts.next().await.expect("the member works").users != users {} };
        timeout(PATIENCE, counted).await.unwrap_or_else(|_| {
            panic!("{} users counted, not {users}", self.member.count());
        });
        start.elapsed()
    }
}

/// How the application of a test uses the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It has no connect handler.
    Count,
    /// It has one, which is called behind the counter's.
    Handler,
    /// The same, and sets a disconnect handler.
    HandlerAndOwnDisconnect,
    /// It counts in its connect handler.
    InHandler,
    /// The same, and sets a disconnect handler before that.
    InHandlerAndOwnDisconnect,
    /// The same, and counts out in that.
    LeaveInHandler,
}

impl Use {
    fn set_up(self, application: &Application) {
        let io = &application.io;
        if self == Self::Count {
            return count(io, "/", &application.member).unwrap();
        }
        let counter = application.counter();
        match self {
            Self::Count => {}
            Self::Handler => io.ns("/", counter.handler(async |_: SocketRef| {})),
            Self::HandlerAndOwnDisconnect => {
                io.ns(
                    "/",
                    counter.handler(async |socket: SocketRef| {
                        socket.on_disconnect(async || {});
                    }),
                );
            }
            Self::InHandler => io.ns("/", async move |socket: SocketRef| counter.count(&socket)),
            Self::InHandlerAndOwnDisconnect => io.ns("/", async move |socket: SocketRef| {
                socket.on_disconnect(async || {});
                counter.count(&socket);
            }),
            Self::LeaveInHandler => io.ns("/", async move |socket: SocketRef| {
                counter.count(&socket);
                socket.on_disconnect(async move |socket: SocketRef| counter.leave(&socket));
            }),
        }
    }
}

/// How a client of a test leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    ByItself,
    WithItsSession,
    ByTheApplication,
}

/// Goal: a socket gets a count that includes it, and is counted out after it left, whichever way the application counts and
/// whoever ends the socket. Method: two clients of which one leaves, in all combinations.
#[rstest]
#[tokio::test]
async fn sockets_are_counted_until_they_leave(
    #[values(
        Use::Count,
        Use::Handler,
        Use::HandlerAndOwnDisconnect,
        Use::InHandler,
        Use::InHandlerAndOwnDisconnect,
        Use::LeaveInHandler
    )]
    used: Use,
    #[values(Leave::ByItself, Leave::WithItsSession, Leave::ByTheApplication)] leave: Leave,
) {
    let application = Application::new().await;
    used.set_up(&application);
    let first = application.joined().await;
    application.hears(&first, 1).await;
    let second = application.joined().await;
    application.hears(&second, 2).await;
    application.hears(&first, 2).await;
    let kept = application.socket(&second);
    match leave {
        Leave::ByItself => application.post(&second, "41").await,
        Leave::WithItsSession => application.post(&second, "1").await,
        Leave::ByTheApplication => kept.clone().disconnect().unwrap(),
    }
    application.counts(1).await;
    application.hears(&first, 1).await;
    drop(kept);
}

/// Goal: a socket that leaves in the very moment in which it is counted is counted out. Method: one thread counts a socket again and
/// again, and another one counts it out.
#[tokio::test]
async fn a_socket_that_leaves_at_once_is_counted_out() {
    let application = Application::new().await;
    let counter = application.counter();
    application.io.ns("/", async || {});
    let session = application.joined().await;
    let acknowledged = application
        .request(Request::get(format!("{PATH}&sid={session}")).body(String::new()))
        .await;
    assert!(acknowledged.starts_with("40{"), "{acknowledged}");
    let socket = application.socket(&session);
    let (is_over, _turns) = (AtomicBool::new(false), OthersFirst::begin());
    thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                counter.leave(&socket);
                thread::yield_now();
            }
        });
        let deadline = Instant::now() + PATIENCE;
        for _ in 0..300 {
            counter.count(&socket);
            while counter.roster.tally().connections() > 0 && Instant::now() < deadline {
                thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(counter.roster.tally().connections(), 0);
    let connects = &counter.roster.metrics().connects;
    assert_eq!(connects.with_label_values(&["polling"]).get(), 300, "it was counted each time");
}

/// Goal: with the counter's disconnect handler no search is needed; with the application's handler the search comes often.
/// Method: ten times a client that joins and leaves; the fastest time tells which it was.
#[rstest]
#[tokio::test]
async fn leaving_is_noticed_at_once(
    #[values(Use::Count, Use::HandlerAndOwnDisconnect, Use::InHandler)] used: Use,
) {
    let application = Application::new().await;
    used.set_up(&application);
    let mut quickest = PATIENCE;
    for _ in 0..10 {
        let session = application.joined().await;
        application.counts(1).await;
        application.post(&session, "1").await;
        quickest = quickest.min(application.counts(0).await);
    }
    assert!(quickest < BEFORE_THE_NEXT_LOOK, "{quickest:?}");
}

/// Goal: a client that leaves and joins again on one connection is counted once each time. Method: several rounds, in which
/// the application counts the socket once more.
#[rstest]
#[tokio::test]
async fn who_joins_again_is_counted_again(
    #[values(Use::Handler, Use::InHandlerAndOwnDisconnect)] used: Use,
) {
    let application = Application::new().await;
    used.set_up(&application);
    let session = application.joined().await;
    for _ in 0..5 {
        application.counts(1).await;
        application.post(&session, "41").await;
        application.counts(0).await;
        application.post(&session, "40").await;
    }
    application.hears(&session, 1).await;
}

/// Goal: a socket that joins again while the application still handles its leaving is not counted twice. Method: a slow
/// disconnect handler, during which the library ignores the join and the session is closed.
#[tokio::test]
async fn a_slow_disconnect_handler_holds_nobody_in_the_count() {
    let application = Application::new().await;
    let counter = application.counter();
    application.io.ns(
        "/",
        counter.handler(async |socket: SocketRef| {
            socket.on_disconnect(async || sleep(PATIENCE).await);
        }),
    );
    let session = application.joined().await;
    application.counts(1).await;
    application.post(&session, "41\x1e40").await;
    application.counts(0).await;
}

/// Goal: a socket that is counted twice counts once, and one that is not counted cannot be counted out. Method: both calls
/// on one socket.
#[tokio::test]
async fn counting_twice_is_counting_once() {
    let application = Application::new().await;
    let counter = application.counter();
    let counting = counter.clone();
    application.io.ns(
        "/",
        counter.handler(async move |socket: SocketRef| {
            counting.count(&socket);
            counting.count(&socket);
        }),
    );
    let session = application.joined().await;
    application.hears(&session, 1).await;
    let socket = application.socket(&session);
    for _ in 0..2 {
        counter.leave(&socket);
    }
    application.counts(0).await;
    counter.count(&socket);
    application.counts(1).await;
}

/// Goal: a socket that left before it was counted is not counted. Method: a connect handler that waits until its client is
/// gone.
#[tokio::test]
async fn who_left_before_is_not_counted() {
    let application = Application::new().await;
    let counter = application.counter();
    let (done, mut is_done) = tokio::sync::watch::channel(false);
    application.io.ns("/", async move |socket: SocketRef| {
        while socket.connected() {
            tokio::task::yield_now().await;
        }
        counter.count(&socket);
        done.send_replace(true);
    });
    let session = application.joined().await;
    application.post(&session, "1").await;
    timeout(PATIENCE, is_done.wait_for(|&done| done)).await.unwrap().unwrap();
    let metrics = application.member.metrics().unwrap();
    assert!(metrics.contains("headcount_connects_total{transport=\"polling\"} 0\n"), "{metrics}");
}

/// Goal: a socket that a middleware refuses is not counted. Method: a middleware that decides by what clients send with
/// their connect.
#[tokio::test]
async fn a_refused_socket_is_not_counted() {
    use ::socketioxide::extract::Data;
    let application = Application::new().await;
    let middleware = async |Data(word): Data<String>| {
        if word == "friend" { Ok(()) } else { Err("not by that word") }
    };
    let handler = ConnectHandler::with(async |_: SocketRef| {}, middleware);
    application.io.ns("/", application.counter().handler(handler));
    let refused = application.session().await;
    application.post(&refused, "40\"foe\"").await;
    let path = format!("{PATH}&sid={refused}");
    let answer = application.request(Request::get(path).body(String::new())).await;
    assert!(answer.contains("44{"), "{answer}");
    let joined = application.session().await;
    application.post(&joined, "40\"friend\"").await;
    application.hears(&joined, 1).await;
}

/// Goal: misuse is refused, and nothing of the application is replaced. Method: every kind of misuse.
#[tokio::test]
async fn misuse_is_refused() {
    let application = Application::new().await;
    let (io, member) = (&application.io, &application.member);
    let other = CountError::NotTheSite { path: "/chat".to_owned() };
    assert_eq!(count(io, "/chat", member), Err(other.clone()));
    assert_eq!(counter(io, "/chat", member).unwrap_err(), other);
    count(io, "/", member).unwrap();
    assert_eq!(count(io, "/", member), Err(CountError::NamespaceDefined));
    assert_eq!(counter(io, "/", member).unwrap_err(), CountError::CountsAlready);
    let (_, another) = SocketIo::new_layer();
    assert_eq!(count(&another, "/", member), Err(CountError::CountsAlready));
    assert!(another.of("/").is_none(), "nothing was defined");
}

/// Goal: counting ends with the member, and the application's server continues. Method: a client before and one after; the
/// metrics count only the first.
#[tokio::test]
async fn nobody_is_counted_after_leaving() {
    let application = Application::new().await;
    count(&application.io, "/", &application.member).unwrap();
    let first = application.joined().await;
    application.hears(&first, 1).await;
    application.member.leave().await;
    let second = application.joined().await;
    let path = format!("{PATH}&sid={second}");
    let answer = application.request(Request::get(path).body(String::new())).await;
    assert!(answer.starts_with("40{"), "{answer}");
    assert!(!application.member.count().exact);
    let metrics = application.member.metrics().unwrap();
    for started in ["connects", "sessions_started"] {
        let line = format!("headcount_{started}_total{{transport=\"polling\"}} 1\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}
