//! Every row of the table, in the order in which the documents show it.

mod instances;
mod network;
mod store;
mod tampering;

use headcount_testkit::waiting::eventually;

use crate::{
    checker::Sees,
    row::{Bound, Play, Row},
    stage::{Setup, Stage},
};

/// All rows.
pub(crate) fn all() -> Vec<Row> {
    [instances::rows(), store::rows(), tampering::rows(), network::rows()].concat()
}

/// A row on the usual stage, in which only what was true may be seen.
fn row(name: &'static str, fault: &'static str, bound: Bound, play: Play) -> Row {
    Row { name, fault, bound, sees: Sees::Truth, setup: Setup::default(), play }
}

/// Waits until so many instances say that what they show is an estimate.
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
