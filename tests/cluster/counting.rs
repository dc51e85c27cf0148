//! The main job: everybody sees how many are there, whoever comes and goes, wherever.

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    foreign::{ForeignClients, Library},
    record::Record,
    waiting::eventually,
};

/// Goal: all clients of a cluster end on the true count. Method: 60 clients of both kinds and all transports
/// on three instances join, a third leaves in different ways, some join again; after each step all clients,
/// instances, `GET currentUsers` and a subscriber on Redis must say the truth.
#[tokio::test(flavor = "multi_thread")]
async fn sixty_clients_on_three_instances_agree() {
    let cluster = Cluster::start(3).await;
    let subscriber = cluster.redis_client.subscribe().await;
    let mut node = ForeignClients::start(Library::Newest);
    let mut in_node = Vec::new();
    let mut in_rust = Vec::new();
    for (index, instance) in cluster.instances.iter().enumerate() {
        for number in 0..10 {
            let transport = Transport::ALL[(index + number) % 3];
            in_node.extend(node.open(1, instance.public, transport).await);
            in_rust.push(Client::open(instance.public, transport));
        }
    }
    cluster.agrees_on(60, &[records_of(&in_rust), in_node.clone()].concat()).await;

    for client in in_rust.drain(..10) {
        client.leave().await;
    }
    for number in 0..10 {
        node.close(number).await;
    }
    let staying = [records_of(&in_rust), in_node.split_off(10)].concat();
    cluster.agrees_on(40, &staying).await;

    let late =
        |number: usize| Client::open(cluster.instances[number % 3].public, Transport::Websocket);
    in_rust.extend((0..7).map(late));
    let everybody = [staying, records_of(&in_rust)].concat();
    cluster.agrees_on(47, &everybody).await;

    eventually("47 is announced", async || match subscriber.announcements().last() {
        Some(announced) if announced.count == 47 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let revisions: Vec<u64> =
        subscriber.announcements().iter().map(|announced| announced.revision).collect();
    assert!(revisions.is_sorted(), "the channel's order is revision order: {revisions:?}");
}

/// Swaps in a row: enough to meet every order in which a leave and a join can be handled.
const SWAPS: usize = 120;

/// Goal: a newcomer gets a first value that includes itself even if the count ends where it was. Method:
/// many times, one client leaves and another joins at the same moment, on one instance and across two; four
/// others stay, so the newcomer must be told at least five, and all must end on five.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_is_told_a_count_with_itself_when_another_leaves_at_the_same_moment() {
    const STAYING: u64 = 4;
    let cluster = Cluster::start(2).await;
    let address = |number: usize| cluster.instances[number % 2].public;
    let staying: Vec<Client> =
        (0..4).map(|number| Client::open(address(number), Transport::Websocket)).collect();
    let mut mover = Client::open(address(0), Transport::Websocket);
    cluster.agrees_on(STAYING + 1, &records_of(staying.iter().chain([&mover]))).await;
    for swap in 0..SWAPS {
        // Over four swaps the newcomer is twice beside the one that leaves and twice on the other instance.
        let newcomer = Client::open(address(swap / 2), Transport::ALL[swap % 3]);
        std::mem::replace(&mut mover, newcomer).leave().await;
        let first = first_value(mover.record()).await;
        assert!(first > STAYING, "swap {swap}: told {first}, {:?}", mover.record().entries());
    }
    cluster.agrees_on(STAYING + 1, &records_of(staying.iter().chain([&mover]))).await;
}

async fn first_value(record: &Record) -> u64 {
    let first = async || record.counts().first().copied().ok_or(format!("{:?}", record.entries()));
    eventually("the newcomer's first value", first).await.0
}

/// Rounds of coming and going, each of which may fall anywhere in an emission interval.
const ROUNDS: usize = 300;

/// Goal: the last value arrives, however the number went up and down just before. Method: clients join and
/// leave two instances in a random order without waiting for anything, so that numbers return within one
/// emission interval; then all who are left, told individually or by an emission, must end on the truth.
#[tokio::test(flavor = "multi_thread")]
async fn coming_and_going_at_random_ends_on_the_truth() {
    let cluster = Cluster::start(2).await;
    let mut clients: Vec<Client> = Vec::new();
    let mut dice = Dice::new(0x5EED);
    for round in 0..ROUNDS {
        if clients.len() > 20 || (clients.len() > 5 && dice.roll(2) == 0) {
            let leaver = dice.roll(clients.len());
            clients.swap_remove(leaver).leave().await;
        } else {
            let instance = cluster.instances[dice.roll(2)].public;
            clients.push(Client::open(instance, Transport::ALL[dice.roll(3)]));
        }
        if round % 50 == 49 {
            cluster.agrees_on(clients.len() as u64, &records_of(&clients)).await;
        }
    }
}

/// Random enough, and the same in every run: a linear congruential generator with the constants of Knuth's
/// MMIX, of which the upper bits are used.
pub(crate) struct Dice(u64);

impl Dice {
    /// Ones that roll the same in every run.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % sides
    }
}
