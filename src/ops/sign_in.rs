//! Checks the token of requests to the admin listener, or the cookie that a browser got for it, if a token is set. Wrong tokens
//! are limited for each sender, and a guess by cookies costs the guesser a slow computation.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use askama::Template;
use axum::{
    body::Bytes,
    extract::{ConnectInfo, Extension, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use tokio::{sync::OnceCell, task::spawn_blocking, time::Instant};

use super::{names::Names, runbook};
use crate::{
    access::{
        admin_hosts::AdminHosts,
        admin_token::{AdminToken, COOKIE_SECONDS},
        guesses::{Guesses, Tried},
        origin::Origins,
    },
    telemetry::log_limit::LogLimit,
};

/// Until the next token is looked at, in seconds.
const RETRY_AFTER: &str = "1";
/// Least time between two log lines about wrong tokens.
const LOG_GAP: Duration = Duration::from_mins(1);
/// The cookie. Cookies know no ports: instances on one host share it, as they share the token.
const COOKIE: &str = "headcount_admin";
/// The most cookies of that name that are looked at: a browser sends one, or one for each path.
const COOKIES_MAX: usize = 4;
/// The most bytes of a login form.
pub(super) const FORM_BYTES_MAX: usize = 2048;

/// The door of the admin listener.
#[derive(Debug)]
pub struct Door {
    /// `None` if it is open.
    token: Option<AdminToken>,
    /// The names under which it is open.
    names: Names,
    /// The lock is held while one token is tried, some microseconds.
    guesses: Mutex<Guesses>,
    log: LogLimit,
    /// Whether the token has the key of its cookies. All that ask before wait for one computation.
    cookie_key: OnceCell<()>,
}

/// The address of the other end of the connection, unless the socket has died.
type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

/// The page with the form. What it says are constants, and names of sections of the runbook.
#[derive(Clone, Copy, Template)]
#[template(path = "sign_in.html")]
struct Form<'a> {
    trouble: &'static str,
    /// The way from the page that was asked for up to the console: empty or `../`.
    up: &'static str,
    /// The page that was asked for, if it is to be shown after the sign-in.
    page: &'a str,
}

impl Door {
    /// A door that asks for `token`, or is open without one to whoever asks for one of the names: `hosts`, or `own`, the name of
    /// this instance.
    pub fn new(token: Option<AdminToken>, hosts: AdminHosts, own: String) -> Self {
        Self {
            token,
            names: Names::new(hosts, own),
            guesses: Mutex::new(Guesses::new(Instant::now())),
            log: LogLimit::new(LOG_GAP),
            cookie_key: OnceCell::new(),
        }
    }

    /// Waits until cookies can be made and checked at once. The first caller starts the computation, on a thread for such work.
    async fn ready_for_cookies(&self, token: &AdminToken) {
        let make = || async {
            let token = token.clone();
            // It fails only at the end of the program.
            let _ = spawn_blocking(move || token.make_cookie_key()).await;
        };
        self.cookie_key.get_or_init(make).await;
    }

    /// Tries a token. While a sender has shown too many wrong ones none of his is looked at, so the answer tells nothing.
    fn try_token(&self, token: &AdminToken, presented: &str, peer: Option<SocketAddr>) -> Tried {
        let (from, now) =
            (peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip()), Instant::now());
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = guesses.try_token(token, presented, from, now);
        drop(guesses);
        if tried == Tried::Wrong {
            self.tell(from, now);
        }
        tried
    }

    fn tell(&self, from: IpAddr, now: Instant) {
        if let Some(held_back) = self.log.admit(now) {
            tracing::warn!(%from, held_back, "a wrong admin token was refused");
        }
    }
}

/// Middleware: lets requests through that may read.
pub(super) async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let Some(token) = &door.token else {
        return match door.names.refusal(&request) {
            Some(refusal) => refusal,
            None => next.run(request).await,
        };
    };
    let headers = request.headers();
    let now = unix_seconds();
    if cookies(headers).next().is_some() {
        door.ready_for_cookies(token).await;
    }
    if cookies(headers).take(COOKIES_MAX).any(|value| token.takes_cookie(value, now)) {
        return next.run(request).await;
    }
    let peer = request.extensions().get().map(|&ConnectInfo(peer)| peer);
    let tried = bearer(headers).map(|presented| door.try_token(token, presented, peer));
    if tried == Some(Tried::Right) {
        return next.run(request).await;
    }
    let path = request.uri().path();
    refuse(tried, Form { up: up_from(path), ..Form::for_page(path) }, headers)
}

/// The answer to a login form: a cookie and the way to the console, or the form again.
pub(super) async fn sign_in(
    State(door): State<Arc<Door>>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !Origins::Same.allow_page_of(&headers) {
        return (StatusCode::FORBIDDEN, "sign in on this page itself\n").into_response();
    }
    let Some(token) = &door.token else { return Redirect::to("./").into_response() };
    let field = |wanted: &str| {
        let mut fields = url::form_urlencoded::parse(&body);
        fields
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let (presented, page) = (field("token"), format!("/{}", field("page")));
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer);
    match door.try_token(token, presented.trim(), peer) {
        Tried::Right => {
            door.ready_for_cookies(token).await;
            let cookie = token.cookie(unix_seconds());
            enter(&headers, &cookie, COOKIE_SECONDS, Form::for_page(&page).page)
        }
        refused => refuse(Some(refused), Form::for_page(&page), &headers),
    }
}

/// Forgets the cookie.
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    if !Origins::Same.allow_page_of(&headers) {
        return (StatusCode::FORBIDDEN, "sign out on the page itself\n").into_response();
    }
    enter(&headers, "", 0, "")
}

/// Sets the cookie and leads to a page. The address is relative and the cookie's path is left to the browser, which takes the
/// folder of this request: a proxy may have put the console below a path, and the host's other pages have no use for the cookie.
///
/// `Lax`, so that links to the runbook in alerts and chats find the operator signed in. What they can cause is reading only.
fn enter(headers: &HeaderMap, cookie: &str, seconds: u64, page: &str) -> Response {
    let secure = if is_https(headers) { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={cookie}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    ([(header::SET_COOKIE, cookie)], Redirect::to(&format!("./{page}"))).into_response()
}

/// Whether the browser speaks HTTPS, to whatever is in front. It says so in `Origin`; proxies may, in a header that anybody can
/// send, which is asked only if there is no origin.
fn is_https(headers: &HeaderMap) -> bool {
    let first = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    match first(header::ORIGIN.as_str()) {
        Some(origin) => origin.starts_with("https://"),
        None => first("x-forwarded-proto").is_some_and(|protocols| protocols.starts_with("https")),
    }
}

/// Asks for the token: people with the form, programs with a line. `tried` is what became of the one that was presented.
fn refuse(tried: Option<Tried>, form: Form<'_>, headers: &HeaderMap) -> Response {
    let (status, trouble) = match tried {
        None => (StatusCode::UNAUTHORIZED, ""),
        Some(Tried::TooOften) => {
            (StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens. Try again in a moment.")
        }
        Some(_) => (StatusCode::UNAUTHORIZED, "This is not the token."),
    };
    let mut response = if wants_html(headers) {
        Html(Form { trouble, ..form }.render().unwrap_or_default()).into_response()
    } else if trouble.is_empty() {
        "this needs the admin token: Authorization: Bearer TOKEN\n".into_response()
    } else {
        format!("{trouble}\n").into_response()
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    if tried == Some(Tried::TooOften) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    response
}

impl<'a> Form<'a> {
    /// The form that leads to the page with this path, if it is one that people go to, and otherwise to the console.
    fn for_page(path: &'a str) -> Self {
        let page = path.strip_prefix('/').unwrap_or_default();
        let section = page.strip_prefix("runbook/").and_then(runbook::section);
        let page = if section.is_some() || page == "runbook" { page } else { "" };
        Self { trouble: "", up: "", page }
    }
}

/// The way from a page up to the console: our paths have one or two parts.
fn up_from(path: &str) -> &'static str {
    if path.matches('/').count() > 1 { "../" } else { "" }
}

/// Whether a person asks, with a browser.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted.filter_map(|value| value.to_str().ok()).any(|value| value.contains("text/html"))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The values of our cookie: a browser may hold several, for different paths.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Goal: credentials are found in every form that clients send, and nowhere else. Method: valid and invalid headers.
    #[rstest]
    #[case("Bearer abc", Some("abc"))]
    #[case("bearer  abc ", Some("abc"))]
    #[case("Basic abc", None)]
    #[case("Bearer", None)]
    #[case("", None)]
    fn bearer_tokens(#[case] value: &'static str, #[case] expected: Option<&str>) {
        let headers: HeaderMap =
            [(header::AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(bearer(&headers), expected);
    }

    /// Goal: our cookie is found among others. Method: one of several, several of ours, and names that contain ours.
    #[rstest]
    #[case("headcount_admin=1.a", &["1.a"])]
    #[case("a=b; headcount_admin=1.a;headcount_admin=", &["1.a", ""])]
    #[case("headcount_admins=1.a; xheadcount_admin=2", &[])]
    fn cookies_by_name(#[case] value: &'static str, #[case] expected: &[&str]) {
        let headers: HeaderMap =
            [(header::COOKIE, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(cookies(&headers).collect::<Vec<_>>(), expected);
    }

    /// Goal: the cookie is sent back over HTTPS alone if the browser speaks it, whatever is in between. Method: what browsers and
    /// proxies say of it.
    #[rstest]
    #[case(&[("origin", "https://console.example")], true)]
    #[case(&[("origin", "http://127.0.0.1:9100")], false)]
    #[case(&[("origin", "http://127.0.0.1:9100"), ("x-forwarded-proto", "https")], false)]
    #[case(&[("x-forwarded-proto", "https,http")], true)]
    #[case(&[("x-forwarded-proto", "http")], false)]
    #[case(&[], false)]
    fn cookies_are_secure_over_https(
        #[case] headers: &[(&'static str, &'static str)],
        #[case] is_secure: bool,
    ) {
        let headers = headers.iter().map(|&(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        let answer = enter(&headers.collect(), "1.a", 9, "");
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        let secure = if is_secure { "; Secure" } else { "" };
        let expected = format!("headcount_admin=1.a; Max-Age=9; HttpOnly; SameSite=Lax{secure}");
        assert_eq!(cookie, expected);
    }

    /// Goal: the form works on every page that asks for the token, and leads back to pages that people go to, and nowhere else.
    /// Method: such pages, others, and addresses elsewhere.
    #[rstest]
    #[case("/", "", "")]
    #[case("/runbook", "", "runbook")]
    #[case("/runbook/HeadcountStoreDown", "../", "runbook/HeadcountStoreDown")]
    #[case("/runbook/Nothing", "../", "")]
    #[case("/console.json", "", "")]
    #[case("/socket.io/", "../", "")]
    #[case("//evil.example", "../", "")]
    #[case("/https://evil.example", "../", "")]
    fn the_form_leads_back(#[case] path: &str, #[case] up: &str, #[case] page: &str) {
        assert_eq!((up_from(path), Form::for_page(path).page), (up, page));
    }

    /// Goal: nobody waits for the computation of the cookies' key but who needs it. Method: one thread, on which another task
    /// must have its turn before the first cookie can be made.
    #[tokio::test]
    async fn others_go_on_while_the_key_of_cookies_is_made() {
        let token = AdminToken::parse("swordfish-swordfish").unwrap();
        let door = Door::new(Some(token.clone()), AdminHosts::default(), String::new());
        let order = Mutex::new(Vec::new());
        let note = |who| order.lock().unwrap().push(who);
        tokio::join!(
            async {
                door.ready_for_cookies(&token).await;
                note("cookies");
            },
            async { note("another") },
        );
        assert_eq!(*order.lock().unwrap(), ["another", "cookies"]);
    }
}
