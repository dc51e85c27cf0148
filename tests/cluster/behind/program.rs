//! The proxies of deploy/proxies: their files, and how a user without special rights runs them in a separate
//! directory.

use std::net::SocketAddr;

use headcount_testkit::{redis_server::free_port, waiting::eventually};

use super::{
    Pair,
    entrance::{CERTIFICATE, Entrance, OWN_HOST, USUAL},
    replaced,
    served::Served,
};

/// A proxy program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Nginx,
    Caddy,
    Traefik,
    Apache,
    HaProxy,
}

/// Numbers of a file, and their replacements.
pub(super) type Changes<'a> = &'a [(&'a str, &'a str)];

/// A proxy in front of two instances.
#[derive(Debug)]
pub(super) struct Proxy {
    /// The address for clients.
    pub(super) entrance: Entrance,
    served: Served,
}

macro_rules! shipped {
    ($name:literal) => {
        include_str!(concat!("../../../deploy/proxies/", $name))
    };
}

impl Program {
    /// Whether it checks readiness on the admin port. The others use a refused request as the sign.
    pub(super) fn asks_for_readiness(self) -> bool {
        matches!(self, Self::Caddy | Self::Traefik | Self::HaProxy)
    }

    /// The files that an operator copies: their names in the directory, and their texts.
    fn files(self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Nginx => vec![
                ("headcount.conf", shipped!("nginx/headcount.conf")),
                ("headcount-pass.conf", shipped!("nginx/headcount-pass.conf")),
                ("headcount-proxy.conf", shipped!("nginx/headcount-proxy.conf")),
                ("headcount-server.conf", shipped!("nginx/headcount-server.conf")),
            ],
            Self::Caddy => vec![("Caddyfile", shipped!("caddy/Caddyfile"))],
            Self::Traefik => vec![
                ("traefik.yml", shipped!("traefik/traefik.yml")),
                ("headcount.yml", shipped!("traefik/headcount.yml")),
            ],
            Self::Apache => vec![
                ("headcount.conf", shipped!("apache/headcount.conf")),
                ("headcount.lua", shipped!("apache/headcount.lua")),
            ],
            Self::HaProxy => vec![("haproxy.cfg", shipped!("haproxy/haproxy.cfg"))],
        }
    }

    /// The additional configuration with which a user without special rights runs it, so that it writes only to its
    /// own directory.
    fn surroundings(self, port: u16) -> Option<(&'static str, String)> {
        match self {
            Self::Nginx => Some(("nginx.conf", String::from(NGINX))),
            Self::Apache => {
                let modules = APACHE_MODULES
                    .map(|name| {
                        format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n")
                    })
                    .concat();
                Some(("apache.conf", format!("{modules}Listen {port}\n{APACHE}")))
            }
            Self::Caddy | Self::Traefik | Self::HaProxy => None,
        }
    }

    /// Replaces the ports and the certificates of one of its files.
    fn local(self, name: &str, text: &str, port: u16, unused: u16) -> String {
        let port = port.to_string();
        let ours = text.replace("/etc/ssl/count.example.", "certificate.");
        let ours = ours.replace("/etc/ssl/site.example.", "certificate.");
        match (self, name) {
            (Self::Nginx, "headcount.conf") => {
                replaced(&ours, "listen 443", &format!("listen {port}"))
            }
            (Self::Caddy, _) => {
                let options = format!(
                    "admin off\nauto_https disable_redirects\nhttps_port {port}\nskip_install_trust\n"
                );
                let ours = replaced(&ours, "{\n\t# Before", &format!("{{\n{options}\t# Before"));
                let own = "tls certificate.pem certificate.key";
                let ours =
                    replaced(&ours, "\ncount.example {", &format!("\ncount.example {{\n{own}"));
                replaced(&ours, "\nsite.example {", &format!("\nsite.example {{\n{own}"))
            }
            (Self::Traefik, "traefik.yml") => {
                let ours = replaced(&ours, ":443", &format!("127.0.0.1:{port}"));
                let ours = replaced(&ours, ":80\"", &format!("127.0.0.1:{unused}\""));
                replaced(&ours, "/etc/traefik/", "")
            }
            (Self::Apache, "headcount.conf") => {
                let ours = replaced(&ours, "/etc/apache2/", "");
                replaced(&ours, "*:443", &format!("*:{port}"))
            }
            (Self::HaProxy, _) => {
                let ours = replaced(&ours, ":443", &format!("127.0.0.1:{port}"));
                let ours = replaced(&ours, ":80\n", &format!("127.0.0.1:{unused}\n"));
                replaced(&ours, "/etc/haproxy/certificates/", "both.pem")
            }
            _ => ours,
        }
    }

    fn arguments(self) -> Vec<String> {
        let traefik =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/traefik/venv/bin/traefik");
        let arguments: &[&str] = match self {
            Self::Nginx => &["nginx", "-p", ".", "-e", "log", "-c", "nginx.conf"],
            Self::Caddy => &["caddy", "run", "--config", "Caddyfile"],
            Self::Traefik => &[traefik, "--configFile=traefik.yml"],
            Self::Apache => &["apache2", "-d", ".", "-f", "apache.conf", "-D", "FOREGROUND"],
            Self::HaProxy => &["haproxy", "-db", "-f", "haproxy.cfg"],
        };
        arguments.iter().map(|&argument| argument.to_owned()).collect()
    }
}

impl Proxy {
    /// Starts a proxy with its files.
    pub(super) async fn start(program: Program, pair: &Pair) -> Self {
        Self::start_with(program, pair, &[]).await
    }

    /// Starts a proxy with changed numbers in its files.
    pub(super) async fn start_with(program: Program, pair: &Pair, changes: Changes<'_>) -> Self {
        let (port, unused) = (free_port(), free_port());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut files = Vec::new();
        let mut missing: Vec<_> = changes.iter().collect();
        for (name, text) in program.files() {
            let mut ours = program.local(name, &pair.named_in(text), port, unused);
            for (from, to) in changes.iter().filter(|(from, _)| text.contains(from)) {
                ours = replaced(&ours, from, to);
                missing.retain(|change| change.0 != *from);
            }
            files.push((name.to_owned(), ours));
        }
        assert!(missing.is_empty(), "{missing:?} is in no file");
        files.extend(program.surroundings(port).map(|(name, text)| (name.to_owned(), text)));
        for (name, text) in [
            ("certificate.pem", CERTIFICATE.chain.clone()),
            ("certificate.key", CERTIFICATE.key.clone()),
            ("both.pem", format!("{}{}", CERTIFICATE.chain, CERTIFICATE.key)),
        ] {
            files.push((name.to_owned(), text));
        }
        let served = Served::start(address, &files, &program.arguments()).await;
        let entrance = Entrance::secure(address);
        // Traefik accepts connections before it has read its sites.
        eventually("it serves", async || {
            let mut connection = entrance.connect(OWN_HOST, USUAL).await?;
            match connection.ask(&format!("https://{OWN_HOST}/api/count"), "").await?.status {
                200 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
        Self { entrance, served }
    }

    /// What it has logged of requests, and of itself.
    pub(super) fn logged(&self) -> String {
        format!("{}{}", self.served.file("access"), self.served.file("log"))
    }
}

const NGINX: &str = "daemon off; master_process off; pid nginx.pid; error_log log;
events { worker_connections 4000; }
http {
  access_log access;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  include headcount.conf;
}
";

const APACHE_MODULES: [&str; 12] = [
    "mpm_event",
    "authz_core",
    "headers",
    "lbmethod_bybusyness",
    "lua",
    "proxy",
    "proxy_balancer",
    "proxy_http",
    "rewrite",
    "slotmem_shm",
    "socache_shmcb",
    "ssl",
];

const APACHE: &str = "ServerName localhost
DefaultRuntimeDir .
PidFile pid
ErrorLog log
User www-data
Group www-data
Include headcount.conf
";
