//! Existing third-party clients: they work unchanged, on every transport that they have.
//!
//! The Rust client is part of this repository (`headcount_testkit::client`). The crate `rust_socketio` would bring
//! OpenSSL and another HTTP stack for one test, more than all other dependencies together.

use headcount_testkit::{
    client::Transport,
    cluster::Cluster,
    foreign::{ForeignClients, Library},
    instance::Instance,
    record::{Event, Record},
    redis_server::free_port,
    waiting::eventually,
};

/// Goal: the newest socket.io-client works. Method: the steps of [`work_and_return`].
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_socket_io_client_works() {
    work_and_return(Library::Newest).await;
}

/// Goal: the first socket.io-client of this protocol works. Method: the steps of [`work_and_return`].
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_socket_io_client_works() {
    work_and_return(Library::Oldest).await;
}

/// Goal: python-socketio works. Method: the steps of [`work_and_return`].
#[tokio::test(flavor = "multi_thread")]
async fn python_socketio_works() {
    work_and_return(Library::Python).await;
}

/// One client per transport on each of two instances: all get 6. One leaves: 5. Then an instance is killed and started
/// again on its address: its clients reconnect by themselves, and all get 5.
async fn work_and_return(library: Library) {
    let mut cluster = Cluster::start(1).await;
    let address = format!("127.0.0.1:{}", free_port());
    cluster.add(&[("HEADCOUNT_LISTEN", &address)]).await;
    let mut foreign = ForeignClients::start(library);
    let mut records = Vec::new();
    for instance in &cluster.instances {
        for transport in Transport::ALL {
            records.extend(foreign.open(1, instance.public, transport).await);
        }
    }
    cluster.agrees_on(6, &records).await;
    // The third client on each instance began with polling and may upgrade to a websocket.
    for upgraded in [&records[2], &records[5]] {
        eventually("it upgrades", async || match upgraded.times(Event::is_upgraded) {
            1 => Ok(()),
            times => Err(format!("{}: {times} times", upgraded.name())),
        })
        .await;
    }
    foreign.close(0).await;
    let staying: Vec<Record> = records.split_off(1);
    cluster.agrees_on(5, &staying).await;

    cluster.instances.remove(1);
    let url = cluster.redis.url();
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str()), ("HEADCOUNT_LISTEN", address.as_str())];
    cluster.instances.push(Instance::start(&settings).await);
    // Until then all may agree on the number of before: the killed instance has its lease.
    for returned in &staying[2..] {
        eventually("its clients notice", async || match returned.times(Event::is_disconnected) {
            0 => Err(returned.name().to_owned()),
            _ => Ok(()),
        })
        .await;
    }
    cluster.agrees_on(5, &staying).await;
}
