//! The cases, in the order of the script's steps.

mod damage;
mod denials;
mod introductions;
mod publishing;
mod reports;
mod room_audits;
mod room_dead;
mod room_losses;
mod room_pages;
mod rooms;

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
    rooms::{
        rooms_are_sums,
        rooms_have_revisions,
        users_count_once,
        users_of_the_site,
        elsewhere,
        what_is_held,
        empty_rooms_vanish,
        information,
        bad_groups,
        full_report,
        fenced_rooms,
    },
    room_dead::{
        farewell_leaves_rooms,
        the_dead_leave_in_portions,
        full_reports_take_less_away,
        the_dead_take_only_their_own,
        late_first_of_the_dead,
        the_living_are_not_dead,
        counted_out_without_rooms,
    },
    room_losses::{
        lost_counts_are_not_told_as_none,
        rooms_after_a_flush,
        behind_is_marked,
        stamps_tell_revisions_apart,
        a_report_again_after_a_flush,
        a_report_again_after_a_rollback,
        paused_begins_again,
        the_former_is_buried,
        the_former_is_not_elsewhere,
        resending_keeps_the_mark,
        the_dead_keep_the_mark,
        rooms_lost,
        no_key_keeps_a_ghost,
        wrong_types_of_rooms,
        lost_users_of_the_site,
        a_lost_list_keeps_nobody,
        sudden_audits_count_users,
        tombstones_outlive_a_loss,
    },
    room_pages::{
        page_format,
        pages_are_a_chain,
        empty_rooms_are_announced,
        swaps_are_announced,
        the_dead_are_swapped,
        new_information_is_announced,
        pages_are_paced,
        channels_are_apart,
        a_recovery_is_a_gap,
        a_flush_of_all_rooms_is_told,
        denied_pages_are_lost,
        lost_changes_are_a_gap,
        edited_counts_are_not_published,
        strange_names_are_not_published,
    },
    room_audits::{
        edited_rooms,
        every_room_is_audited,
        edited_users,
        edited_users_of_the_site,
        a_lost_count_is_found,
        lost_counts_are_counted_again,
        a_part_is_said_again,
        audits_count_their_rooms,
        impossible_wide,
        lifetimes_of_rooms,
        rooms_need_no_memory,
    },
];
