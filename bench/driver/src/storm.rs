//! Section `storm`: many visitors join at once. It measures how many counts are sent, what that costs, and
//! how long it takes until all visitors know the right number.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    bench::{Bench, INTERVAL},
    clients::as_float,
    crowd::Crowd,
    server::{Contender, Program, Server, Terms},
    visitor::Way,
};

/// The section's name.
pub const NAME: &str = "storm";
/// Handshakes at a time.
const WINDOW: usize = 256;
/// The storm is over when no count has come for this long.
const QUIET: Duration = Duration::from_millis(700);
/// A server that is still sending after this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// One round over all sizes and contenders.
///
/// # Errors
/// If a server fails.
pub fn run(bench: &mut Bench) -> Result<()> {
    for joins in bench.plan.storms.clone() {
        let mut peers =
            [Program::Epoll, Program::Socketioxide, Program::Node].map(Contender::merged).to_vec();
        if joins <= bench.plan.storms_each_max {
            let each = [Program::Epoll, Program::Socketioxide, Program::Node];
            peers.extend(each.map(Contender::each));
        }
        for contender in bench.contenders(peers) {
            bench.say(&format!("{joins} join {}", contender.name()));
            let figures = storm(bench, &contender, joins);
            bench.keep(NAME, &contender, &[("joins", joins)], figures)?;
        }
    }
    Ok(())
}

fn storm(bench: &Bench, contender: &Contender, joins: u64) -> Result<Vec<(&'static str, f64)>> {
    let terms = Terms { interval: INTERVAL, redis: None };
    let server = Server::start(contender, &bench.places, terms)?;
    let mut crowd = Crowd::new(Way::Websocket)?;
    crowd.join_many(server.address, 1, 1)?;
    let (counts, cpu, start) = (crowd.heard.counts, server.process.cpu()?, Instant::now());
    let lost = crowd.rush(server.address, usize::try_from(joins)? - 1, WINDOW)?;
    let last = crowd.until_quiet(QUIET, PATIENCE)?;
    let used = server.process.cpu()?.total.saturating_sub(cpu.total);
    Ok(vec![
        ("counts", as_float(crowd.heard.counts - counts)),
        ("cpu_s", used.as_secs_f64()),
        ("until_quiet_s", last.saturating_duration_since(start).as_secs_f64()),
        ("lost", as_float(lost)),
        ("wrong_at_the_end", as_float(crowd.disagreeing(crowd.told() as u64) as u64)),
    ])
}
