//! The provider suite: one function a test, generic over the provider.

mod acks;
mod addressing;
mod closing;
mod events;
mod forge;
mod inbound;
mod limits;
mod order;
mod resume;
mod rooms;

pub use acks::*;
pub use addressing::*;
pub use closing::*;
pub use events::*;
pub use forge::*;
pub use inbound::*;
pub use limits::*;
pub use order::*;
pub use resume::*;
pub use rooms::*;

/// Makes one `#[test]` of every test of the provider suite, in a module `conformance`, for a
/// [`ProviderUnderTest`](crate::conformance::ProviderUnderTest).
#[macro_export]
macro_rules! provider_conformance {
    ($provider:ty) => {
        $crate::conformance_tests! { $provider; in provider:
            acks_are_collected_from_every_connection,
            acks_of_a_room_come_from_its_members,
            acks_of_one_tenants_user,
            acks_tell_who_is_gone_and_who_is_late,
            addressing_all,
            addressing_connection,
            addressing_except,
            addressing_tenant,
            addressing_user,
            addressing_user_within_a_tenant,
            before_attach_nothing_is_taken,
            binary_events_arrive_or_are_refused,
            burst_keeps_its_order,
            burst_of_many_publishers_has_one_order,
            close_all,
            close_one_connection,
            close_user,
            connected_comes_first,
            cut_by_the_client_runs_the_hooks,
            expired_identity_is_closed,
            handlers_answer_in_order,
            handlers_that_fail_are_told_and_hurt_nobody,
            clients_enter_and_leave_rooms_by_events,
            idempotency_key_delivers_once,
            keys_without_effect_are_refused,
            isolation_of_names_between_kinds,
            isolation_of_tenants_and_users,
            limit_of_all_connections,
            limit_of_one_user,
            limit_of_one_user_holds_in_a_race,
            lost_is_told_in_band,
            names_that_break_the_rules,
            names_with_unusual_characters,
            overflow_is_caught_up,
            payloads_of_any_text,
            quiet_clients_keep_their_place,
            receipts_tell_what_happened,
            refused_without_a_valid_identity,
            resume_from_a_cursor,
            resume_from_a_cursor_that_cannot_be,
            resume_from_a_cursor_that_was_made_up,
            resume_keeps_the_exceptions_of_the_connection_before,
            resume_shows_nothing_of_others,
            rooms_except_and_within_a_tenant,
            rooms_follow_the_user,
            rooms_joined_are_replayed,
            rooms_named_by_the_client,
            rooms_of_one_tenants_user,
            shutdown_closes_and_refuses,
            stats_count,
            too_large_is_refused,
            volatile_is_delivered_and_not_replayed,
        }
    };
}

/// Makes `#[test]` functions of a suite's functions.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($subject:ty; in $suite:ident: $($test:ident),* $(,)?) => {
        mod conformance {
            use super::*;
            $(
                #[test]
                fn $test() {
                    $crate::conformance::run($crate::conformance::tests::$suite::$test::<$subject>());
                }
            )*
        }
    };
}
