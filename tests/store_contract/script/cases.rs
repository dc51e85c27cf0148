//! The cases, in the order of the script's steps.

mod damage;
mod denials;
mod introductions;
mod publishing;
mod reports;

use super::stage::Case;

/// A table of functions with their names.
macro_rules! cases {
    ($($file:ident :: { $($name:ident),* $(,)? }),* $(,)?) => {
        &[$($(Case { name: stringify!($name), play: $file::$name }),*),*]
    };
}

pub(super) const CASES: &[Case] = cases![
    reports::{
        bad_arguments,
        out_of_memory,
        great_numbers,
        late_report,
        repeated_report,
        stale_changes_nothing,
        tombstone,
        idle_is_alive,
        newcomer_first,
        paused_for_less_than_a_lease,
        away_twice,
        late_reporter_keeps_no_ghost,
        one_report_each,
        time_jumps_back,
        dead_are_reaped,
        farewell_is_no_crash,
        many_dead,
    },
    damage::{
        rolled_back_to_the_same_revision,
        rolled_back,
        late_report_reveals_a_loss,
        emptied,
        end_of_recovery_is_a_revision,
        mark_outlasts_ghosts,
        meta_lost,
        wrong_types,
        wrong_type_is_marked,
        edited_part,
        spoilt_part,
        spoilt_sequence,
        impossible_meta,
        impossible_total,
        audit_on_demand,
        connections_deleted,
        leases_deleted,
        one_lease_deleted,
        leases_and_sequences_deleted,
    },
    denials::{
        denied_commands,
        denied_keys,
    },
    introductions::{
        what_is_said_stands,
        farewell_takes_what_was_said,
        reaping_takes_what_was_said,
        strangers_go,
        a_list_instead,
        counting_needs_no_introduction,
        silence_costs_nothing,
        nobody_leaves_nothing_said,
    },
    publishing::{
        public_edited,
        public_keeps_its_ttl,
        ttls,
        ttl_of_a_busy_store,
        last_farewell,
        announcement_format,
        announcement_of_another_database,
        announcements_are_paced,
        held_back_goes_out,
    },
];
