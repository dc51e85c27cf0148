//! Clients that others wrote and that exist: they work unchanged, on every transport they have.
//!
//! The Rust client is our own (`headcount_testkit::client`): the crate `rust_socketio` brings OpenSSL and an HTTP stack
//! of its own, more than all other dependencies together, for one test.

use headcount_testkit::{
    client::Transport,
    cluster::Cluster,
    foreign::{ForeignClients, Library},
    instance::Instance,
    record::{Event, Record},
};

/// Goal: the newest socket.io-client works. Method: as [`work_and_return`] says.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_socket_io_client_works() {
    work_and_return(Library::Newest).await;
}

/// Goal: the first socket.io-client of this protocol works. Method: as [`work_and_return`] says.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_socket_io_client_works() {
    work_and_return(Library::Oldest).await;
}

/// Goal: python-socketio works. Method: as [`work_and_return`] says.
#[tokio::test(flavor = "multi_thread")]
async fn python_socketio_works() {
    work_and_return(Library::Python).await;
}

/// One client per transport on each of two instances: all are told six; one leaves: five; then an instance
/// is killed and started again on its address: its clients return by themselves, and all are told five.
async fn work_and_return(library: Library) {
    let mut cluster = Cluster::start(2).await;
    let mut foreign = ForeignClients::start(library);
    let mut records = Vec::new();
    for instance in &cluster.instances {
        for transport in Transport::ALL {
            records.extend(foreign.open(1, instance.public, transport).await);
        }
    }
    cluster.agrees_on(6, &records).await;
    // The third on each instance began with polling and may go on as a websocket.
    for upgraded in [&records[2], &records[5]] {
        assert_eq!(upgraded.times(Event::is_upgraded), 1, "{}", upgraded.name());
    }
    foreign.close(0).await;
    let staying: Vec<Record> = records.split_off(1);
    cluster.agrees_on(5, &staying).await;

    let address = cluster.instances.remove(1).public.to_string();
    let url = cluster.redis.url();
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str()), ("HEADCOUNT_LISTEN", address.as_str())];
    cluster.instances.push(Instance::start(&settings).await);
    cluster.agrees_on(5, &staying).await;
    for returned in &staying[2..] {
        assert!(returned.times(Event::is_disconnected) > 0, "{}", returned.name());
    }
}
