//! The rules of the sharing service on a real database: every story on SQLite as a separate test, and
//! all of them again on PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
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

/// Declares stories: each is a test on SQLite, and all together run on PostgreSQL.
macro_rules! stories {
    ($($module:ident :: $story:ident,)*) => {
        $(
            #[test]
            fn $story() {
                world::on_sqlite(|world| Box::pin($module::$story(world)));
            }
        )*

        /// Every story with its name.
        const STORIES: &[(&str, world::Story)] = &[
            $((stringify!($story), |world| Box::pin($module::$story(world))),)*
        ];
    };
}

stories! {
    shares::s01_s14_each_device_gets_a_share_of_its_own_and_the_owner_stays_the_owner,
    shares::s02_the_sixth_person_is_refused_before_anything_is_signed,
    shares::s19_s20_without_sharing_in_the_plan_no_new_share_is_made_and_old_ones_stay,
    shares::s44_a_recipient_cannot_share_with_others_and_strangers_learn_nothing,
    shares::s45_s46_of_several_devices_each_gets_the_reason_why_it_was_not_shared,
    shares::s42_an_account_whose_role_does_not_permit_sharing_cannot_share,
    shares::s49_s65_two_shares_of_one_person_are_listed_apart,
    shares::s54_a_device_added_later_has_the_same_end_and_an_id_of_its_own,
    shares::s60_an_extension_is_the_same_share_with_a_later_end,
    shares::s58_s64_both_sides_see_what_is_shared,
    shares::n22_n28_the_access_review_lists_rights_and_unused_permissions,
    invitations::s15_s16_s17_an_invitation_grants_nothing_until_its_code_is_given,
    invitations::s19_an_invitation_from_before_a_downgrade_is_not_accepted_after_it,
    invitations::s16_five_wrong_codes_lock_an_invitation_permanently,
    invitations::s53_s55_a_withdrawn_or_expired_invitation_is_no_longer_valid,
    invitations::s43_s56_s57_an_invitation_is_for_one_address_one_key_and_one_region,
    invitations::s33_a_denial_leaves_nothing_but_the_status_denied,
    invitations::n24_a_guest_has_a_share_and_no_account,
    invitations::a_session_is_opened_only_once_and_for_the_signer_of_the_challenge,
    lists::s38_s61_s62_cancelling_makes_one_list_and_is_applied_once_confirmed,
    lists::s18_giving_up_a_share_frees_its_slot_and_no_other,
    lists::s59_a_share_is_on_the_device_once_its_receipt_has_arrived,
    lists::n04_a_confirmation_that_the_device_did_not_sign_is_refused,
    lists::a_list_that_overflows_raises_the_floor_and_live_shares_are_signed_again,
    lists::lists_are_signed_again_before_they_are_too_old,
    lists::a_statement_claimed_by_one_process_is_not_published_by_another,
    lists::a_retained_statement_is_published_until_the_device_has_it,
    groups::s23_s25_s26_a_group_gets_access_as_one_and_its_roster_names_members,
    groups::s31_s32_s33_only_a_manager_of_the_site_decides,
    groups::s36_s37_a_share_of_a_site_covers_devices_that_come_later,
    groups::s27_s28_s29_a_lookup_key_leads_to_a_name_and_members_see_it_at_their_sites,
    groups::s39_s41_a_request_for_the_site_of_another_owner_leaks_nothing,
    ownership::s11_the_bearer_of_the_claim_secret_becomes_the_owner_only_once,
    ownership::a_device_named_like_a_site_is_not_registered,
    ownership::s12_only_the_owner_deletes_a_device,
    ownership::n17_a_handover_ends_every_share_in_one_step,
    ownership::s20_only_the_platform_sets_plans_and_an_upgrade_restores_operations,
    ownership::numbers_increase_by_one_despite_concurrent_writers,
}
