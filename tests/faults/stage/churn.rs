//! Clients that join and leave, at any time.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use headcount_testkit::client::Transport;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    people,
    rooms::{self, PASSING},
};
use crate::history::{Place, Visits, Way};

/// How many there are at a time.
const CHURNERS: usize = 4;

/// Clients that join, stay for a moment and leave.
#[derive(Debug)]
pub(super) struct Churn {
    stop: watch::Sender<bool>,
    people: JoinSet<()>,
}

impl Churn {
    pub(super) fn start(visits: &Visits, open: &Arc<Mutex<Vec<(Place, SocketAddr)>>>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut people = JoinSet::new();
        for number in 0..CHURNERS {
            let (visits, open, stopped) = (visits.clone(), Arc::clone(open), stopped.clone());
            people.spawn(async move {
                for visit in (number..).step_by(CHURNERS) {
                    if *stopped.borrow() {
                        return;
                    }
                    come_and_go(visit, &visits, &open, stopped.clone()).await;
                }
            });
        }
        Self { stop, people }
    }

    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(end) = self.people.join_next().await {
            end.expect("a visit does not panic");
        }
    }
}

/// The number decides the instance, the transport, the person, the rooms and the duration: spread well enough, and the same in every
/// run.
async fn come_and_go(
    number: usize,
    visits: &Visits,
    open: &Mutex<Vec<(Place, SocketAddr)>>,
    mut stopped: watch::Receiver<bool>,
) {
    let half = Duration::from_millis(10 + (number * 37 % 280) as u64 / 2);
    let place = {
        let open = open.lock().expect("nothing panics while it holds this lock");
        (!open.is_empty()).then(|| open[number * 7 % open.len()])
    };
    let transport = Transport::ALL[number % Transport::ALL.len()];
    let [first, second] = rooms::of_visitor(number);
    let person = people::of_visitor(number);
    let guest = place.map(|(place, server)| {
        visits.open(Way::To(place), server, transport, person.as_ref(), &first)
    });
    // These fail when the churn is dropped, which ends the visit too.
    drop(timeout(half, stopped.wait_for(|stopped| *stopped)).await);
    let Some(guest) = guest else { return };
    for membership in &second {
        guest.join(membership);
    }
    if rooms::leaves_early(number) {
        guest.leave_room(PASSING);
    }
    drop(timeout(half, stopped.wait_for(|stopped| *stopped)).await);
    guest.leave().await;
}
