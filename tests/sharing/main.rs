//! The rules of the sharing side on a real ledger: every story on SQLite as a test of its own,
//! and all of them once more on PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "this is a test"
)]

mod accounts;
mod groups;
mod invitations;
mod large_database;
mod lists;
mod ownership;
mod postgres;
mod postgres_server;
mod service_kills;
mod shares;
mod world;

/// Declares stories: each a test on SQLite, all of them together for PostgreSQL.
macro_rules! stories {
    ($($room:ident :: $story:ident,)*) => {
        $(
            #[test]
            fn $story() {
                world::on_sqlite(|world| Box::pin($room::$story(world)));
            }
        )*

        /// Every story, by its name.
        const STORIES: &[(&str, world::Story)] = &[
            $((stringify!($story), |world| Box::pin($room::$story(world))),)*
        ];
    };
}

stories! {
    shares::s01_s14_each_device_gets_a_share_of_its_own_and_the_owner_stays_the_owner,
    shares::s02_the_sixth_person_is_refused_before_anything_is_signed,
    shares::s19_s20_without_sharing_in_the_plan_nothing_new_is_shared_and_what_is_stays,
    shares::s44_who_has_a_share_cannot_share_on_and_strangers_hear_of_nothing,
    shares::s45_s46_of_several_devices_each_is_told_why_it_was_not_shared,
    shares::s42_whose_role_does_not_permit_sharing_cannot_share,
    shares::s49_s65_two_shares_of_one_person_are_listed_apart,
    shares::s54_a_device_added_later_has_the_same_end_and_an_id_of_its_own,
    shares::s60_an_extension_is_the_same_share_with_a_later_end,
    shares::s58_s64_both_sides_see_what_is_shared,
    shares::n22_n28_the_review_says_who_can_do_what_and_what_was_not_used,
    invitations::s15_s16_s17_an_invitation_grants_nothing_until_its_code_is_given,
    invitations::s19_what_was_offered_before_the_plan_fell_is_not_accepted_after,
    invitations::s16_five_wrong_codes_lock_an_invitation_for_good,
    invitations::s53_s55_an_invitation_that_was_withdrawn_or_has_lapsed_is_no_longer_valid,
    invitations::s43_s56_s57_an_invitation_is_for_one_address_one_key_and_one_region,
    invitations::s33_who_declines_leaves_nothing_but_the_word_denied,
    invitations::n24_a_guest_has_a_share_and_no_account,
    invitations::a_session_is_for_whoever_signs_the_challenge_and_only_once,
    lists::s38_s61_s62_cancelling_is_one_list_and_applied_when_the_device_has_said_so,
    lists::s18_who_gives_up_a_share_frees_the_slot_and_nobody_elses,
    lists::s59_a_share_is_on_the_device_when_its_receipt_is_here,
    lists::n04_what_a_device_did_not_sign_is_not_its_word,
    lists::a_list_that_overflows_raises_the_floor_and_what_is_live_is_signed_anew,
    lists::lists_are_signed_anew_before_they_are_old,
    lists::what_one_process_has_taken_to_publish_no_other_takes,
    lists::what_a_broker_should_keep_goes_out_until_the_device_has_it,
    groups::s23_s25_s26_a_group_gets_in_as_one_and_its_roster_says_who_that_is,
    groups::s31_s32_s33_who_manages_a_site_decides_and_nobody_else,
    groups::s36_s37_a_share_of_a_site_covers_devices_that_come_later,
    groups::s27_s28_s29_a_lookup_key_leads_to_a_name_and_members_see_it_at_their_sites,
    groups::s39_s41_a_request_for_a_site_of_somebody_else_leaks_nothing,
    ownership::s11_who_shows_the_claim_secret_becomes_the_owner_and_only_once,
    ownership::s12_only_the_owner_deletes_a_device,
    ownership::n17_a_handover_ends_every_share_in_one_step,
    ownership::s20_plans_are_the_platforms_and_bring_back_what_rested,
    ownership::numbers_rise_by_one_whoever_else_writes,
}
