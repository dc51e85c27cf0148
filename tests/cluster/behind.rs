//! Visitors behind the balancers and proxies whose files are in deploy: those files, the real programs, real clients.
//!
//! Only addresses, certificates and, where stated, numbers in the files are replaced. In the files every instance is on
//! a separate machine. Here every instance has a separate address of this machine.

use headcount_testkit::{cluster::Cluster, instance::Setting, redis_server::free_port};
mod balancer;
mod firewall;
mod proxies;
mod tokens;

mod entrance;
mod full;
mod lateness;
mod poll;
mod program;
mod served;

/// The addresses of instances in the files, and the port of their admin listeners.
const NAMED: [&str; 2] = ["10.0.0.11", "10.0.0.12"];
/// Addresses of this machine that replace them.
const HERE: [&str; 2] = ["127.0.0.11", "127.0.0.12"];

/// Two instances on one Redis, on two addresses, with the same ports.
#[derive(Debug)]
struct Pair {
    cluster: Cluster,
    port: u16,
    admin_port: u16,
}

impl Pair {
    async fn start(settings: &[Setting<'_>]) -> Self {
        let cluster = Cluster::start(0).await;
        let mut pair = Self { cluster, port: free_port(), admin_port: free_port() };
        for address in HERE {
            pair.add(address, settings).await;
        }
        pair
    }

    async fn add(&mut self, address: &str, settings: &[Setting<'_>]) {
        let listen = format!("{address}:{}", self.port);
        let admin_listen = format!("{address}:{}", self.admin_port);
        let addresses = [
            ("HEADCOUNT_LISTEN", listen.as_str()),
            ("HEADCOUNT_ADMIN_LISTEN", admin_listen.as_str()),
        ];
        self.cluster.add(&[&addresses, settings].concat()).await;
    }

    /// A file in which the addresses of these instances replace the original ones.
    fn named_in(&self, file: &str) -> String {
        let mut text = file.to_owned();
        for (named, here) in NAMED.iter().zip(HERE) {
            let (pattern, literal) = (named.replace('.', r"\."), here.replace('.', r"\."));
            text = text
                .replace(&format!("{named}:3000"), &format!("{here}:{}", self.port))
                .replace(&format!("{pattern}:3000"), &format!("{literal}:{}", self.port));
        }
        text.replace("9100", &self.admin_port.to_string())
    }
}

/// Replaces a text that must occur, so that a changed file is noticed.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    text.replace(from, to)
}
