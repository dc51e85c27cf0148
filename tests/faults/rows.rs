//! Every row of the table, in the order of the document.

mod instances;
mod network;
mod people;
mod rooms;
mod store;
mod tampering;

use headcount_testkit::waiting::eventually;

use crate::{
    checker::Sees,
    row::{Bound, OfRooms, Play, Row},
    stage::{Setup, Stage},
};

/// All rows.
pub(crate) fn all() -> Vec<Row> {
    let of_site = [instances::rows(), store::rows(), tampering::rows(), network::rows()];
    [of_site.concat(), rooms::rows(), people::rows()].concat()
}

/// A row on the default stage, in which only true counts may be seen.
fn row(name: &'static str, fault: &'static str, bound: Bound, play: Play) -> Row {
    let of_rooms = OfRooms::default();
    Row { name, fault, bound, sees: Sees::Truth, of_rooms, setup: Setup::default(), play }
}

/// Waits until this number of instances show an estimate.
async fn estimates(stage: &Stage, wanted: usize) {
    eventually("the instances show estimates", async || {
        let mut exact = Vec::new();
        for instance in stage.seats.iter().filter_map(|seat| seat.instance.as_ref()) {
            exact.push(instance.shown().await?.exact);
        }
        let estimates = exact.iter().filter(|exact| !*exact).count();
        if estimates >= wanted { Ok(()) } else { Err(format!("{exact:?}")) }
    })
    .await;
}
