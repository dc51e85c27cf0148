//! deploy/haproxy/haproxy.cfg as it is, but for addresses, and for names that only Docker's resolver knows.

use std::{fmt::Write, net::SocketAddr};

use headcount_testkit::{http, instance::Instance, redis_server::free_port, waiting::eventually};

use crate::behind::{entrance::Entrance, replaced, served::Served};

const FILE: &str = include_str!("../../../../deploy/haproxy/haproxy.cfg");

/// The balancer, running. Dropped, it is ended.
#[derive(Debug)]
pub(super) struct Shipped {
    /// Where clients connect.
    pub(super) entrance: Entrance,
    /// Where Prometheus asks.
    metrics: SocketAddr,
    _served: Served,
}

/// Where a server takes clients, and where it is asked whether it is ready.
pub(super) type Server = (SocketAddr, SocketAddr);

/// Where an instance is.
pub(super) fn server(instance: &Instance) -> Server {
    (instance.public, instance.admin)
}

impl Shipped {
    /// Starts it in front of these, with changes to the file, and waits until all are used.
    pub(super) async fn start(servers: &[Server], changes: &[(&str, &str)]) -> Self {
        let [public, metrics] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let mut lines = String::new();
        for (number, (address, admin)) in servers.iter().enumerate() {
            let port = admin.port();
            writeln!(lines, "    server headcount{number} {address} check port {port}")
                .expect("memory takes it");
        }
        let mut text = replaced(FILE, "bind :8080\n", &format!("bind {public}\n"));
        text = replaced(&text, "bind :8404\n", &format!("bind {metrics}\n"));
        text = replaced(&text, "    server-template headcount 1-20 headcount:3000\n", &lines);
        text = replaced(&text, "check port 9100 ", "");
        text = replaced(&text, " init-addr none resolvers docker resolve-prefer ipv4", "");
        for (from, to) in changes {
            text = replaced(&text, from, to);
        }
        let files = [(String::from("haproxy.cfg"), text)];
        let arguments = ["haproxy", "-db", "-f", "haproxy.cfg"].map(String::from);
        let served = Served::start(public, &files, &arguments).await;
        let entrance = Entrance::plain(public);
        let shipped = Self { entrance, metrics, _served: served };
        eventually("the balancer serves", async || {
            match http::get(metrics, "/healthy").await?.status {
                200 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
        shipped
    }

    /// What Prometheus is told of the side of the visitors.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let answer = http::get(self.metrics, "/metrics").await.expect("it answers");
        let start = format!("haproxy_frontend_{name}{{proxy=\"public\"}} ");
        let value = answer.body.lines().find_map(|line| line.strip_prefix(&start));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}"))
    }
}
